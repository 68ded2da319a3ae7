// Videos from a camera that moves on its own: rays of each frame's pixels, and the conditioning of WAN's camera models.
// Source: spec engine.md 9.3 "Camera", 12.3; the moves are those of MotionCtrl, the rays those of CameraCtrl and their
// order on the channels that of VideoX-Fun (all Apache-2.0), which trained the models.
#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>

#include "worker/models/wan_latents.h"
#include "worker/nodes/wan_support.h"

namespace atelier::nodes {

// f32 [1,24,T,H,W]: origin x direction and direction of each pixel's ray, four frames in one latent frame.
struct CameraRays {
  at::Tensor rays;
};

}  // namespace atelier::nodes

namespace atelier {
template <>
struct SocketTraits<nodes::CameraRays> {
  static constexpr std::string_view kName = "WAN_CAMERA_EMBEDDING";
};
}  // namespace atelier

namespace atelier::nodes {
namespace {

using engine::VisionOutput;
using Prepared = std::tuple<Conditioning, Conditioning, Latent>;

constexpr double kWay = 1.5, kTurn = std::numbers::pi / 3;  // of a whole video at speed 1
constexpr int64_t kFrames = 4;                              // of a latent frame

// Where the camera goes (right, down, forward) and how it turns about its axis.
struct Move {
  double x, y, z, turn;
};
const std::map<std::string, Move>& Moves() {
  static const std::map<std::string, Move> moves{
      {"Static", {0, 0, 0, 0}},        {"Pan Up", {0, -1, 0, 0}},
      {"Pan Down", {0, 1, 0, 0}},      {"Pan Left", {-1, 0, 0, 0}},
      {"Pan Right", {1, 0, 0, 0}},     {"Zoom In", {0, 0, 2, 0}},
      {"Zoom Out", {0, 0, -2, 0}},     {"Anti Clockwise (ACW)", {0, 0, 0, -1}},
      {"ClockWise (CW)", {0, 0, 0, 1}}};
  return moves;
}

struct WanCameraEmbedding {
  using T = WanCameraEmbedding;
  std::string camera_pose;
  int64_t width = 832, height = 480, length = 81;
  double speed = 1.0, fx = 0.5, fy = 0.5, cx = 0.5, cy = 0.5;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanCameraEmbedding").Category("camera").Description("The rays of a camera that moves evenly.");
    s.Input<&T::camera_pose>("camera_pose")
        .OneOf({"Static", "Pan Up", "Pan Down", "Pan Left", "Pan Right", "Zoom In", "Zoom Out", "Anti Clockwise (ACW)",
                "ClockWise (CW)"})
        .Default("Static")
        .Tooltip("How the camera moves.");
    s.Input<&T::width>("width").Default(832).Range(16, 16384).Step(16).Tooltip("Width in pixels.");
    s.Input<&T::height>("height").Default(480).Range(16, 16384).Step(16).Tooltip("Height in pixels.");
    s.Input<&T::length>("length").Default(81).Range(1, 16384).Step(4).Tooltip("Number of frames, 4n + 1.");
    s.Input<&T::speed>("speed").Default(1.0).Range(0.0, 10.0).Step(0.1).Optional().Tooltip("How far it goes.");
    s.Input<&T::fx>("fx").Default(0.5).Range(0.0, 1.0).Step(1e-9).Optional().Tooltip("Focal length in widths.");
    s.Input<&T::fy>("fy").Default(0.5).Range(0.0, 1.0).Step(1e-9).Optional().Tooltip("Focal length in heights.");
    s.Input<&T::cx>("cx").Default(0.5).Range(0.0, 1.0).Step(0.01).Optional().Tooltip("The axis, in widths.");
    s.Input<&T::cy>("cy").Default(0.5).Range(0.0, 1.0).Step(0.01).Optional().Tooltip("The axis, in heights.");
    s.Output<CameraRays>("camera_embedding").Output<int64_t>("width").Output<int64_t>("height");
    s.Output<int64_t>("length");
  }
  StatusOr<std::tuple<CameraRays, int64_t, int64_t, int64_t>> Run(NodeContext&) const {
    if (fx <= 0 || fy <= 0) return InvalidArgument("fx is ", fx, " and fy ", fy, ", expected more than 0");
    const int64_t frames = (length - 1) / kFrames * kFrames + 1;
    RETURN_IF_ERROR(CheckTensorSize("camera rays", {frames + 3, 6, height, width}));
    return Guard([&] { return std::tuple(CameraRays{Rays(frames)}, width, height, length); });
  }

 private:
  at::Tensor Rays(int64_t frames) const {
    const Move& move = Moves().at(camera_pose);
    const auto w = static_cast<double>(width), h = static_cast<double>(height);
    const at::Tensor x = ((at::arange(width, at::kFloat) + 0.5 - cx * w) / (fx * w)).view({1, width});
    const at::Tensor y = ((at::arange(height, at::kFloat) + 0.5 - cy * h) / (fy * h)).view({height, 1});
    const at::Tensor far = (x * x + y * y + 1.0).sqrt();
    at::Tensor all = at::empty({6, frames, height, width});
    for (int64_t i = 0; i < frames; ++i) {
      const double done = static_cast<double>(i) / static_cast<double>(frames) * speed;
      const double c = std::cos(done * kTurn * move.turn), s = std::sin(done * kTurn * move.turn);
      const double ox = done * kWay * move.x, oy = done * kWay * move.y, oz = done * kWay * move.z;
      const at::Tensor dx = (x * c - y * s) / far, dy = (x * s + y * c) / far, dz = 1.0 / far;
      const at::Tensor parts[] = {dz * oy - dy * oz, dx * oz - dz * ox, dy * ox - dx * oy, dx, dy, dz};
      for (int64_t k = 0; k < 6; ++k) all[k][i].copy_(parts[k]);
    }
    // The first frame fills a latent frame of its own.
    const at::Tensor first = all.narrow(1, 0, 1).expand({-1, kFrames - 1, -1, -1});
    const at::Tensor grouped = at::cat({first, all}, 1).view({6, -1, kFrames, height, width});
    return grouped.permute({0, 2, 1, 3, 4}).reshape({1, 6 * kFrames, -1, height, width});
  }
};
ATELIER_REGISTER_NODE(WanCameraEmbedding);

struct WanCameraImageToVideo {
  using T = WanCameraImageToVideo;
  Conditioning positive, negative;
  Vae vae;
  int64_t width = 832, height = 480, length = 81, batch_size = 1;
  std::optional<VisionOutput> clip_vision_output;
  std::optional<Image> start_image;
  std::optional<CameraRays> camera_conditions;

  static void Describe(NodeSchema<T>& s) {
    s.Name("WanCameraImageToVideo").Category("conditioning/video_models");
    s.Description("Prepares a video of a moving camera, for WAN's camera models.");
    s.Input<&T::positive>("positive").Tooltip("What to aim at.");
    s.Input<&T::negative>("negative").Tooltip("What to avoid.");
    s.Input<&T::vae>("vae").Tooltip("WAN 2.1's autoencoder.");
    DescribeVideoSize<T>(s, 832, 480, 81);
    s.Input<&T::clip_vision_output>("clip_vision_output").Tooltip("What CLIP vision sees in the first picture.");
    s.Input<&T::start_image>("start_image").Tooltip("The first frames.");
    s.Input<&T::camera_conditions>("camera_conditions").Tooltip("The camera's rays, of the same size.");
    s.Output<Conditioning>("positive").Output<Conditioning>("negative").Output<Latent>("latent");
  }
  StatusOr<Prepared> Run(NodeContext&) const {
    return Guard([this] { return Prepare(); });
  }

 private:
  StatusOr<Prepared> Prepare() const {
    RETURN_IF_ERROR(CheckVideoVae(vae, 16));
    const VideoSize size{width, height, length, batch_size};
    Prepared out{positive, negative, {}};
    auto& [to, from, latent] = out;
    ASSIGN_OR_RETURN(latent.samples, ZeroVideo(size, 16, 8));
    if (start_image) {
      ASSIGN_OR_RETURN(const at::Tensor start, FitFrames("start_image", *start_image, size));
      ASSIGN_OR_RETURN(const at::Tensor encoded, vae.autoencoder->Encode(start));
      const at::Tensor picture = models::Wan21Latents().ProcessOut(latent.samples.narrow(0, 0, 1));
      picture.narrow(2, 0, encoded.size(2)).copy_(encoded);
      at::Tensor mask = at::ones({1, 1, size.latent_frames() * 4, picture.size(3), picture.size(4)});
      mask.narrow(2, 0, std::min(start.size(0) + 3, mask.size(2))).zero_();
      mask = FrameChannels(mask);
      for (Conditioning* conditioning : {&to, &from}) {
        SetTensor(*conditioning, "concat_latent_image", picture);
        SetTensor(*conditioning, "concat_mask", mask);
      }
    }
    if (camera_conditions) {
      const at::Tensor& rays = camera_conditions->rays;
      if (rays.size(2) != size.latent_frames() || rays.size(3) != height || rays.size(4) != width)
        return InvalidArgument("camera_conditions are for ", rays.size(4), "x", rays.size(3), " and ", rays.size(2),
                               " latent frames, expected ", width, "x", height, " and ", size.latent_frames(),
                               "; link width, height and length of both");
      for (Conditioning* conditioning : {&to, &from}) SetTensor(*conditioning, "camera_conditions", rays);
    }
    RETURN_IF_ERROR(AddVision(to, from, clip_vision_output ? &*clip_vision_output : nullptr));
    return out;
  }
};
ATELIER_REGISTER_NODE(WanCameraImageToVideo);

}  // namespace
}  // namespace atelier::nodes
