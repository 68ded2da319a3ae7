// Latents of zeros for the families that do not take the ordinary one. Source: spec engine.md 12.3, 12.4.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

StatusOr<Latent> Zeros(std::initializer_list<int64_t> shape) {
  RETURN_IF_ERROR(CheckTensorSize("empty latent", shape));
  return Guard([&] { return Latent{at::zeros(shape, at::kFloat), {}, {}}; });
}

struct EmptyHunyuanLatentVideo {
  int64_t width = 848;
  int64_t height = 480;
  int64_t length = 25;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<EmptyHunyuanLatentVideo>& s) {
    s.Name("EmptyHunyuanLatentVideo")
        .Category("latent/video")
        .Cheap()
        .Description("The empty start of a video with 16 channels.");
    s.Input<&EmptyHunyuanLatentVideo::width>("width").Default(848).Range(16, 16384).Step(16).Tooltip(
        "Width in pixels.");
    s.Input<&EmptyHunyuanLatentVideo::height>("height").Default(480).Range(16, 16384).Step(16).Tooltip(
        "Height in pixels.");
    s.Input<&EmptyHunyuanLatentVideo::length>("length").Default(25).Range(1, 16384).Step(4).Tooltip(
        "Number of frames.");
    s.Input<&EmptyHunyuanLatentVideo::batch_size>("batch_size")
        .Default(1)
        .Range(1, 4096)
        .Tooltip("How many in a batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    return Zeros({batch_size, 16, (length - 1) / 4 + 1, height / 8, width / 8});
  }
};
ATELIER_REGISTER_NODE(EmptyHunyuanLatentVideo);

struct EmptyMochiLatentVideo {
  int64_t width = 848;
  int64_t height = 480;
  int64_t length = 25;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<EmptyMochiLatentVideo>& s) {
    s.Name("EmptyMochiLatentVideo").Category("latent/video").Cheap().Description("The empty start of a Mochi video.");
    s.Input<&EmptyMochiLatentVideo::width>("width").Default(848).Range(16, 16384).Step(16).Tooltip("Width in pixels.");
    s.Input<&EmptyMochiLatentVideo::height>("height").Default(480).Range(16, 16384).Step(16).Tooltip(
        "Height in pixels.");
    s.Input<&EmptyMochiLatentVideo::length>("length").Default(25).Range(7, 16384).Step(6).Tooltip("Number of frames.");
    s.Input<&EmptyMochiLatentVideo::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many in a batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    return Zeros({batch_size, 12, (length - 1) / 6 + 1, height / 8, width / 8});
  }
};
ATELIER_REGISTER_NODE(EmptyMochiLatentVideo);

struct EmptyLTXVLatentVideo {
  int64_t width = 768;
  int64_t height = 512;
  int64_t length = 97;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<EmptyLTXVLatentVideo>& s) {
    s.Name("EmptyLTXVLatentVideo")
        .Category("latent/video/ltxv")
        .Cheap()
        .Description("The empty start of an LTX video.");
    s.Input<&EmptyLTXVLatentVideo::width>("width").Default(768).Range(64, 16384).Step(32).Tooltip("Width in pixels.");
    s.Input<&EmptyLTXVLatentVideo::height>("height").Default(512).Range(64, 16384).Step(32).Tooltip(
        "Height in pixels.");
    s.Input<&EmptyLTXVLatentVideo::length>("length").Default(97).Range(1, 16384).Step(8).Tooltip("Number of frames.");
    s.Input<&EmptyLTXVLatentVideo::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many in a batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    return Zeros({batch_size, 128, (length - 1) / 8 + 1, height / 32, width / 32});
  }
};
ATELIER_REGISTER_NODE(EmptyLTXVLatentVideo);

struct EmptyCosmosLatentVideo {
  int64_t width = 1280;
  int64_t height = 704;
  int64_t length = 121;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<EmptyCosmosLatentVideo>& s) {
    s.Name("EmptyCosmosLatentVideo").Category("latent/video").Cheap().Description("The empty start of a Cosmos video.");
    s.Input<&EmptyCosmosLatentVideo::width>("width").Default(1280).Range(16, 16384).Step(16).Tooltip(
        "Width in pixels.");
    s.Input<&EmptyCosmosLatentVideo::height>("height").Default(704).Range(16, 16384).Step(16).Tooltip(
        "Height in pixels.");
    s.Input<&EmptyCosmosLatentVideo::length>("length").Default(121).Range(1, 16384).Step(8).Tooltip(
        "Number of frames.");
    s.Input<&EmptyCosmosLatentVideo::batch_size>("batch_size")
        .Default(1)
        .Range(1, 4096)
        .Tooltip("How many in a batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    return Zeros({batch_size, 16, (length - 1) / 8 + 1, height / 8, width / 8});
  }
};
ATELIER_REGISTER_NODE(EmptyCosmosLatentVideo);

struct EmptyHunyuanImageLatent {
  int64_t width = 2048;
  int64_t height = 2048;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<EmptyHunyuanImageLatent>& s) {
    s.Name("EmptyHunyuanImageLatent")
        .Category("latent")
        .Cheap()
        .Description("The empty start of a HunyuanImage picture.");
    s.Input<&EmptyHunyuanImageLatent::width>("width").Default(2048).Range(64, 16384).Step(32).Tooltip(
        "Width in pixels.");
    s.Input<&EmptyHunyuanImageLatent::height>("height").Default(2048).Range(64, 16384).Step(32).Tooltip(
        "Height in pixels.");
    s.Input<&EmptyHunyuanImageLatent::batch_size>("batch_size")
        .Default(1)
        .Range(1, 4096)
        .Tooltip("How many in a batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const { return Zeros({batch_size, 64, height / 32, width / 32}); }
};
ATELIER_REGISTER_NODE(EmptyHunyuanImageLatent);

struct EmptyChromaRadianceLatentImage {
  int64_t width = 1024;
  int64_t height = 1024;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<EmptyChromaRadianceLatentImage>& s) {
    s.Name("EmptyChromaRadianceLatentImage")
        .Category("latent/chroma_radiance")
        .Cheap()
        .Description("The empty start of a picture made without an autoencoder.");
    s.Input<&EmptyChromaRadianceLatentImage::width>("width").Default(1024).Range(16, 16384).Step(16).Tooltip(
        "Width in pixels.");
    s.Input<&EmptyChromaRadianceLatentImage::height>("height").Default(1024).Range(16, 16384).Step(16).Tooltip(
        "Height in pixels.");
    s.Input<&EmptyChromaRadianceLatentImage::batch_size>("batch_size")
        .Default(1)
        .Range(1, 4096)
        .Tooltip("How many in a batch.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const { return Zeros({batch_size, 3, height, width}); }
};
ATELIER_REGISTER_NODE(EmptyChromaRadianceLatentImage);

struct StableCascade_EmptyLatentImage {
  int64_t width = 1024;
  int64_t height = 1024;
  int64_t compression = 42;
  int64_t batch_size = 1;

  static void Describe(NodeSchema<StableCascade_EmptyLatentImage>& s) {
    s.Name("StableCascade_EmptyLatentImage")
        .Category("latent/stable_cascade")
        .Cheap()
        .Description("The empty start of both stages of Stable Cascade.");
    s.Input<&StableCascade_EmptyLatentImage::width>("width")
        .Default(1024)
        .Range(256, 16384)
        .Step(8)
        .Tooltip("Width in pixels.");
    s.Input<&StableCascade_EmptyLatentImage::height>("height")
        .Default(1024)
        .Range(256, 16384)
        .Step(8)
        .Tooltip("Height in pixels.");
    s.Input<&StableCascade_EmptyLatentImage::compression>("compression")
        .Default(42)
        .Range(4, 128)
        .Step(1)
        .Tooltip("How many pixels one latent pixel of the first stage stands for.");
    s.Input<&StableCascade_EmptyLatentImage::batch_size>("batch_size")
        .Default(1)
        .Range(1, 4096)
        .Tooltip("How many in a batch.");
    s.Output<Latent>("stage_c").Output<Latent>("stage_b");
  }
  StatusOr<std::tuple<Latent, Latent>> Run(NodeContext&) const {
    ASSIGN_OR_RETURN(Latent stage_c, Zeros({batch_size, 16, height / compression, width / compression}));
    ASSIGN_OR_RETURN(Latent stage_b, Zeros({batch_size, 4, height / 4, width / 4}));
    return std::tuple(std::move(stage_c), std::move(stage_b));
  }
};
ATELIER_REGISTER_NODE(StableCascade_EmptyLatentImage);

struct TrimVideoLatent {
  Latent samples;
  int64_t trim_amount = 0;

  static void Describe(NodeSchema<TrimVideoLatent>& s) {
    s.Name("TrimVideoLatent").Category("latent/video").Description("Drops the first frames of a video's latent.");
    s.Input<&TrimVideoLatent::samples>("samples").Tooltip("The latents.");
    s.Input<&TrimVideoLatent::trim_amount>("trim_amount")
        .Default(0)
        .Range(0, 99999)
        .Tooltip("How many latent frames to drop.");
    s.Output<Latent>("LATENT");
  }
  StatusOr<Latent> Run(NodeContext&) const {
    RETURN_IF_ERROR(CheckSamples("samples", samples));
    if (samples.samples.dim() != 5) return InvalidArgument("samples have no frames, expected a video's latent");
    if (trim_amount >= samples.samples.size(2))
      return InvalidArgument("trim_amount is ", trim_amount, ", the latent has ", samples.samples.size(2), " frames");
    return Guard([&] {
      Latent result = samples;
      result.samples = samples.samples.slice(2, trim_amount).contiguous();
      return result;
    });
  }
};
ATELIER_REGISTER_NODE(TrimVideoLatent);

}  // namespace
}  // namespace atelier::nodes
