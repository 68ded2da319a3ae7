#include "worker/nodes/frame_reader.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

namespace atelier::nodes {

OneThread::OneThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
OneThread::~OneThread() { at::set_num_threads(before_); }

StatusOr<FrameReader> FrameReader::Open(std::string input, const Value& value) {
  FrameWindows windows;
  if (const auto* held = value.Get<FrameWindows>(); held != nullptr) {
    windows = *held;
  } else if (const auto* image = value.Get<Image>(); image != nullptr) {
    const bool none = image->pixels.defined() && image->pixels.dim() == 4 && image->pixels.size(0) == 0;
    windows.window = [value, none](int64_t index) { return index == 0 && !none ? value : Value(); };
  } else {
    return InvalidArgument("input \"", input, "\": expected pictures, got ",
                           value.present() ? value.type() : "nothing");
  }
  const bool in_windows = value.Get<FrameWindows>() != nullptr;
  FrameReader reader(std::move(input), std::move(windows));
  if (in_windows) reader.serial_ = std::make_unique<OneThread>();
  ASSIGN_OR_RETURN(reader.first_, reader.At(0));
  if (reader.first_.defined()) reader.first_ = reader.first_.clone();
  return reader;
}

StatusOr<bool> FrameReader::Load(int64_t window) {
  if (window == held_) return true;
  pixels_ = at::Tensor();  // one window at a time
  held_ = -1;
  ASSIGN_OR_RETURN(const Value value, windows_.window(window));
  if (!value.present()) return false;
  const auto* image = value.Get<Image>();
  if (image == nullptr)
    return InvalidArgument("input \"", input_, "\": a window of type ", value.type(), ", expected IMAGE");
  RETURN_IF_ERROR(CheckPixels(input_, *image));
  const at::Tensor& p = image->pixels;
  if (first_.defined() && (p.size(1) != first_.size(1) || p.size(2) != first_.size(2) || p.size(3) != first_.size(3)))
    return InvalidArgument("input \"", input_, "\": frames of ", ShapeText(p.sizes().slice(1)), " after ones of ",
                           ShapeText(first_.sizes().slice(1)));
  pixels_ = p;
  held_ = window;
  if (window + 1 == static_cast<int64_t>(starts_.size())) starts_.push_back(starts_.back() + p.size(0));
  return true;
}

StatusOr<at::Tensor> FrameReader::At(int64_t index) {
  while (index >= starts_.back()) {
    ASSIGN_OR_RETURN(const bool there, Load(static_cast<int64_t>(starts_.size()) - 1));
    if (!there) return at::Tensor();
  }
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), index);
  const auto window = static_cast<int64_t>(after - starts_.begin()) - 1;
  ASSIGN_OR_RETURN(const bool there, Load(window));
  if (!there) return Internal("window ", window, " is not there a second time");
  return pixels_.narrow(0, index - starts_[static_cast<size_t>(window)], 1);
}

}  // namespace atelier::nodes
