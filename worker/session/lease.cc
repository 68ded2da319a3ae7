#include "worker/session/lease.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/base/limits.h"
#include "common/json/json.h"

namespace atelier {

StatusOr<Fragment> FragmentOf(const v1::Lease& lease) {
  Fragment fragment;
  ASSIGN_OR_RETURN(fragment.nodes, ParseJson(lease.fragment()));
  for (const v1::Binding& wire : lease.bindings()) {
    Fragment::Binding binding{wire.node(), wire.input(), {}, wire.gather()};
    for (const v1::Blob& blob : wire.blobs()) binding.blobs.push_back(blob.hash());
    fragment.bindings.push_back(std::move(binding));
  }
  for (const v1::Wanted& wire : lease.wanted()) fragment.wanted.push_back({wire.node(), wire.slot(), wire.encoding()});
  fragment.output_nodes.assign(lease.output_nodes().begin(), lease.output_nodes().end());
  for (const v1::InputFile& file : lease.inputs()) fragment.inputs[file.name()] = file.blob().hash();
  return fragment;
}

namespace {

constexpr uint64_t kAheadBytesMax = 64 << 20;  // of the blobs at one input

std::map<std::string, int64_t> Blobs(const v1::Lease& lease, uint64_t gathered_bytes_max) {
  std::map<std::string, int64_t> blobs;
  const auto add = [&](const v1::Blob& blob) {
    blobs[blob.hash()] = static_cast<int64_t>(std::min<uint64_t>(blob.size(), limits::kBlobBytesMax));
  };
  for (const v1::Binding& binding : lease.bindings()) {
    uint64_t bytes = 0;
    for (const v1::Blob& blob : binding.blobs()) bytes += std::min<uint64_t>(blob.size(), limits::kBlobBytesMax);
    if (binding.gather() && bytes > gathered_bytes_max) continue;
    for (const v1::Blob& blob : binding.blobs()) add(blob);
  }
  for (const v1::InputFile& file : lease.inputs()) add(file.blob());
  return blobs;
}

}  // namespace

std::map<std::string, int64_t> BlobsOf(const v1::Lease& lease) {
  return Blobs(lease, std::numeric_limits<uint64_t>::max());
}

std::map<std::string, int64_t> BlobsAhead(const v1::Lease& lease) { return Blobs(lease, kAheadBytesMax); }

}  // namespace atelier
