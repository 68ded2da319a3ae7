#include "worker/session/lease.h"

#include <algorithm>
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

std::map<std::string, int64_t> BlobsOf(const v1::Lease& lease) {
  std::map<std::string, int64_t> blobs;
  const auto add = [&](const v1::Blob& blob) {
    blobs[blob.hash()] = static_cast<int64_t>(std::min<uint64_t>(blob.size(), limits::kBlobBytesMax));
  };
  for (const v1::Binding& binding : lease.bindings())
    for (const v1::Blob& blob : binding.blobs()) add(blob);
  for (const v1::InputFile& file : lease.inputs()) add(file.blob());
  return blobs;
}

}  // namespace atelier
