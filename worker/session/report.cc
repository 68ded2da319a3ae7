#include "worker/session/report.h"

#include <utility>

#include "common/base/hash.h"

namespace atelier {

v1::FromWorker DoneReport(const v1::Lease& lease, FragmentResult result, double seconds,
                          std::vector<ResultBlob>& blobs) {
  v1::FromWorker report;
  v1::TaskDone& done = *report.mutable_done();
  done.set_task_id(lease.task_id());
  done.set_attempt(lease.attempt());
  done.set_seconds(seconds);
  done.set_load_seconds(result.load_seconds);
  done.set_nodes_cached(static_cast<uint32_t>(result.nodes_cached));
  const auto add = [&](std::string bytes, v1::Blob& wire) {
    ResultBlob blob{Sha256Hex(bytes), std::make_shared<const std::string>(std::move(bytes))};
    wire.set_hash(blob.hash);
    wire.set_size(blob.bytes->size());
    blobs.push_back(std::move(blob));
  };
  for (std::string& bytes : result.blobs) add(std::move(bytes), *done.add_results());
  for (OutputFile& file : result.files) {
    v1::OutputFile& wire = *done.add_files();
    wire.set_node(file.node_id);
    wire.set_type(file.type);
    wire.set_prefix(file.prefix);
    wire.set_extension(file.extension);
    wire.set_batch_index(static_cast<uint32_t>(file.batch_index));
    wire.set_width(static_cast<uint32_t>(file.width));
    wire.set_height(static_cast<uint32_t>(file.height));
    wire.set_embed_workflow(file.embed_workflow);
    if (file.suffix.has_value()) wire.set_suffix(*file.suffix);
    add(std::move(file.bytes), *wire.mutable_blob());
  }
  return report;
}

v1::FromWorker FailedReport(const v1::Lease& lease, const Status& status, const std::string& node,
                            bool retry_elsewhere) {
  v1::FromWorker report;
  v1::TaskFailed& failed = *report.mutable_failed();
  failed.set_task_id(lease.task_id());
  failed.set_attempt(lease.attempt());
  failed.set_code(static_cast<uint32_t>(status.code()));
  failed.set_message(Message(status));
  failed.set_node(node);
  failed.set_retry_elsewhere(retry_elsewhere);
  return report;
}

}  // namespace atelier
