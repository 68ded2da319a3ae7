// Latents of zeros for the families that do not take the ordinary one. Source: spec engine.md 12.3, 12.4.
#include "worker/nodes/support.h"

namespace atelier::nodes {
namespace {

StatusOr<Latent> Zeros(std::initializer_list<int64_t> shape) {
  RETURN_IF_ERROR(CheckTensorSize("empty latent", shape));
  return Guard([&] { return Latent{at::zeros(shape, at::kFloat), {}, {}}; });
}

// Sides in pixels, from `low` on.
template <typename N>
void DescribeLatentSides(NodeSchema<N>& s, int64_t width, int64_t height, int64_t low, int64_t step) {
  s.template Input<&N::width>("width").Default(width).Range(low, 16384).Step(step).Tooltip("Width in pixels.");
  s.template Input<&N::height>("height").Default(height).Range(low, 16384).Step(step).Tooltip("Height in pixels.");
}

template <typename N>
void DescribeLatentFrames(NodeSchema<N>& s, int64_t length, int64_t low, int64_t step) {
  s.template Input<&N::length>("length").Default(length).Range(low, 16384).Step(step).Tooltip("Number of frames.");
}

template <typename N>
void DescribeLatentBatch(NodeSchema<N>& s) {
  s.template Input<&N::batch_size>("batch_size").Default(1).Range(1, 4096).Tooltip("How many in a batch.");
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
    DescribeLatentSides(s, 848, 480, 16, 16);
    DescribeLatentFrames(s, 25, 1, 4);
    DescribeLatentBatch(s);
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
    DescribeLatentSides(s, 848, 480, 16, 16);
    DescribeLatentFrames(s, 25, 7, 6);
    DescribeLatentBatch(s);
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
    DescribeLatentSides(s, 768, 512, 64, 32);
    DescribeLatentFrames(s, 97, 1, 8);
    DescribeLatentBatch(s);
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
    DescribeLatentSides(s, 1280, 704, 16, 16);
    DescribeLatentFrames(s, 121, 1, 8);
    DescribeLatentBatch(s);
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
    DescribeLatentSides(s, 2048, 2048, 64, 32);
    DescribeLatentBatch(s);
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
    DescribeLatentSides(s, 1024, 1024, 16, 16);
    DescribeLatentBatch(s);
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
    DescribeLatentSides(s, 1024, 1024, 256, 8);
    s.Input<&StableCascade_EmptyLatentImage::compression>("compression")
        .Default(42)
        .Range(4, 128)
        .Step(1)
        .Tooltip("How many pixels one latent pixel of the first stage stands for.");
    DescribeLatentBatch(s);
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
