#include "master/models/hub.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/utf8.h"
#include "common/files/models.h"
#include "common/security/identity.h"
#include "common/security/peer_ticket.h"

namespace atelier {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWaitMax{1000};     // of a question for the next chunk
constexpr milliseconds kPartWait{60'000};  // for a worker's answer
constexpr size_t kTicketsMax = 64;         // each holds at most a chunk
constexpr size_t kManifestsMax = 64;
constexpr size_t kPushesMax = 8;
constexpr int64_t kPushIdleMs = 600'000;
constexpr int64_t kFailedAgainMs = 60'000;
constexpr size_t kOrdersMax = 10'000;
constexpr int64_t kOrdersOfWorkerMax = 256;  // that nobody here asked for: a worker goes on with them after a restart
constexpr size_t kFactsMax = 200'000;        // of one worker
constexpr size_t kFactNameBytesMax = 1024;   // of folder and name; longer ones are no files of a models folder
constexpr size_t kAddressBytesMax = 300;     // HOST:PORT
constexpr size_t kKeyBytesMax = 256;
constexpr size_t kErrorBytesMax = 1'000;  // of a worker's reason
constexpr int kFaultsMax = 64;            // told with one question

int64_t NowMs() {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

v1::ModelManifest ToProto(const ModelManifest& from) {
  v1::ModelManifest to;
  to.set_hash(from.hash);
  to.set_size(from.size);
  for (const std::string& chunk : from.chunks) to.add_chunks(chunk);
  return to;
}

ModelManifest FromProto(const v1::ModelManifest& from) {
  return {from.hash(), from.size(), {from.chunks().begin(), from.chunks().end()}};
}

std::string Size(uint64_t bytes) {
  char text[32];
  const bool large = bytes >= (1ULL << 30);
  std::snprintf(text, sizeof text, "%.1f %s", static_cast<double>(bytes) / (large ? 1ULL << 30 : 1ULL << 20),
                large ? "GiB" : "MiB");
  return text;
}

}  // namespace

ModelHub::ModelHub(HubOptions options)
    : options_(std::move(options)),
      give_(options_.bytes_per_second),
      library_({options_.roots, options_.cache_dir, 15'000, [this] {
                  const std::lock_guard lock(mutex_);
                  Retry();
                }}) {}

ModelHub::~ModelHub() { Stop(); }

void ModelHub::Start() { library_.Start(); }

void ModelHub::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  give_.Stop();
  library_.Stop();
}

bool ModelHub::TakeRate(uint64_t bytes) {
  if (!give_.Take(bytes)) return false;
  sent_ += bytes;
  return true;
}

// ---- what the sessions bring ----

void ModelHub::Attached(const v1::Attach& attach) {
  const std::lock_guard lock(mutex_);
  WorkerState& worker = workers_[attach.name()];
  worker.connected = true;
  worker.shares = attach.shares_models();
  const bool sane = attach.peer_address().size() <= kAddressBytesMax && attach.peer_key().size() <= kKeyBytesMax;
  worker.address = sane ? attach.peer_address() : "";
  worker.key = sane ? attach.peer_key() : "";
  worker.files.clear();
  for (auto& [key, order] : orders_)
    if (key.first == attach.name() && order.state != "failed") SendOrder(key.first, key.second, order);
}

void ModelHub::Lost(const std::string& name) {
  const std::lock_guard lock(mutex_);
  auto worker = workers_.find(name);
  if (worker == workers_.end()) return;
  worker->second.connected = false;
  tracker_.Forget(name);
  std::erase_if(orders_, [&](const auto& entry) { return entry.first.first == name && !entry.second.asked; });
  for (auto& [key, order] : orders_)
    if (key.first == name && order.state == "fetching") order.state = "waiting";
  for (auto& [id, ticket] : tickets_)
    if (ticket.worker == name && !ticket.part) ticket.part = Unavailable("worker \"", name, "\" left");
  ++turn_;
  changed_.notify_all();
}

void ModelHub::Reported(const std::string& name, const v1::ModelReport& report) {
  const std::lock_guard lock(mutex_);
  WorkerState& worker = workers_[name];
  if (report.whole()) worker.files.clear();
  for (const v1::ModelFact& fact : report.facts()) {
    if (fact.folder().size() + fact.name().size() > kFactNameBytesMax) continue;
    const Name file{fact.folder(), fact.name()};
    const auto before = worker.files.find(file);
    const bool news = before == worker.files.end() || before->second.hash != fact.hash();
    if (fact.gone())
      worker.files.erase(file);
    else if (worker.files.size() < kFactsMax || worker.files.contains(file))
      worker.files[file] = {fact.size(), IsSha256Hex(fact.hash()) ? fact.hash() : "", fact.brought(), fact.pinned()};
    const auto own = library_.Find(file.first, file.second);
    if (news && own && !fact.gone() && !own->hash.empty() && !fact.hash().empty() && own->hash != fact.hash())
      LogWarning("worker \"", name, "\" has another file ", file.first, "/", file.second, " than the master (",
                 fact.hash().substr(0, 12), ", not ", own->hash.substr(0, 12),
                 "): jobs give other pictures there; `atelier models` shows both");
  }
  Retry();
  ++turn_;
  changed_.notify_all();
}

void ModelHub::Progressed(const std::string& worker, const v1::ModelProgress& progress) {
  if (progress.folder().size() + progress.name().size() > kFactNameBytesMax) return;
  const std::lock_guard lock(mutex_);
  const std::pair key{worker, Name{progress.folder(), progress.name()}};
  const auto own = [&] {
    return std::count_if(orders_.begin(), orders_.end(),
                         [&](const auto& order) { return order.first.first == worker; });
  };
  if (progress.state() == "done") {
    orders_.erase(key);
    tracker_.Forget(worker, progress.hash());
  } else if (orders_.contains(key) || (orders_.size() < kOrdersMax && own() < kOrdersOfWorkerMax)) {
    OrderState& order = orders_[key];
    order.hash = IsSha256Hex(progress.hash()) ? progress.hash() : "";
    order.size = progress.size();
    order.bytes = progress.bytes();
    order.state = CutUtf8(progress.state(), kErrorBytesMax);
    order.error = CutUtf8(progress.error(), kErrorBytesMax);
    if (order.state == "failed") {
      order.failed_ms = NowMs();
      manifests_.erase(progress.hash());  // what one worker told may be what was wrong
      tracker_.Forget(worker, progress.hash());
    }
  }
  ++turn_;
  changed_.notify_all();
}

bool ModelHub::Knows(const std::string& source) const {
  const std::lock_guard lock(mutex_);
  return source.empty() || workers_.contains(source);
}

// ---- orders ----

// The master's own file counts; else that of the first worker in the order of names.
std::optional<LibraryModel> ModelHub::SourceOf(const Name& name, const std::string& but) const {
  if (auto own = library_.Find(name.first, name.second)) return own;
  std::optional<LibraryModel> found;
  for (const auto& [worker, state] : workers_) {
    if (!state.connected || worker == but) continue;
    const auto file = state.files.find(name);
    if (file == state.files.end()) continue;
    if (!found || (found->hash.empty() && !file->second.hash.empty()))
      found = LibraryModel{name.first, name.second, "", file->second.size, file->second.hash};
  }
  return found;
}

void ModelHub::SendOrder(const std::string& worker, const Name& name, OrderState& order) {
  const auto state = workers_.find(worker);
  if (state == workers_.end() || !state->second.connected) return;
  if (order.hash.empty()) {
    const auto source = SourceOf(name, worker);
    if (!source || source->hash.empty()) {
      library_.Hurry(name.first, name.second);
      return;
    }
    order.hash = source->hash;
    order.size = source->size;
  }
  v1::ToWorker message;
  v1::FetchModel& fetch = *message.mutable_fetch_model();
  fetch.set_folder(name.first);
  fetch.set_name(name.second);
  fetch.set_hash(order.hash);
  fetch.set_size(order.size);
  for (const auto& [folder, file] : order.keep) {
    v1::ModelName& keep = *fetch.add_keep();
    keep.set_folder(folder);
    keep.set_name(file);
  }
  options_.send(worker, std::move(message));
}

void ModelHub::Retry() {
  for (auto& [key, order] : orders_)
    if (order.state == "waiting" && order.hash.empty()) SendOrder(key.first, key.second, order);
}

bool ModelHub::CanBring(const std::string& worker, const Name& name, int64_t now_ms) const {
  const std::lock_guard lock(mutex_);
  const auto state = workers_.find(worker);
  if (state == workers_.end() || !state->second.connected || !state->second.shares) return false;
  const auto order = orders_.find({worker, name});
  if (order != orders_.end())
    return order->second.state != "failed" || now_ms - order->second.failed_ms >= kFailedAgainMs;
  return SourceOf(name, worker).has_value();
}

void ModelHub::Bring(const std::string& worker, const Name& name, const std::vector<Name>& keep, int64_t now_ms) {
  const std::lock_guard lock(mutex_);
  const auto state = workers_.find(worker);
  if (state == workers_.end() || !state->second.connected || !state->second.shares) return;
  const auto known = orders_.find({worker, name});
  if (known != orders_.end()) {
    OrderState& order = known->second;
    if (order.state == "failed" ? now_ms - order.failed_ms < kFailedAgainMs : !order.hash.empty()) return;
    if (order.state == "failed") order = {};
    order.keep = keep;
    SendOrder(worker, name, order);
    return;
  }
  if (orders_.size() >= kOrdersMax || !SourceOf(name, worker)) return;
  OrderState& order = orders_[{worker, name}];
  order.keep = keep;
  SendOrder(worker, name, order);
}

std::string ModelHub::Outlook(const std::string& worker, const Name& name, const std::string& share) const {
  const std::lock_guard lock(mutex_);
  const std::string pull = Cat("`atelier models pull ", name.first, "/", name.second, " --to ", worker, "`");
  const auto order = orders_.find({worker, name});
  if (order != orders_.end()) {
    const OrderState& o = order->second;
    if (o.state == "failed") return Cat("could not be brought: ", o.error, "; then ", pull, " tries again");
    if (o.hash.empty()) return "will be brought as soon as its hash is known";
    if (o.size == 0 || o.state == "waiting") return Cat("is about to be brought (", Size(o.size), ")");
    return Cat("is being brought: ", o.bytes * 100 / o.size, " % of ", Size(o.size));
  }
  const auto source = SourceOf(name, worker);
  if (!source)
    return Cat("is nowhere in the cluster: put it into the folder ", name.first,
               " of this worker, or `atelier models push FILE --folder ", name.first, " --to ", worker, "`");
  const auto state = workers_.find(worker);
  if (state == workers_.end() || !state->second.shares)
    return "cannot be brought to this worker, which shares no models: put it into its models folder";
  if (share == "auto")
    return Cat("will be brought (", Size(source->size), ") when a task waits and this worker is idle");
  return Cat("is elsewhere in the cluster: ", pull, " brings it");
}

StatusOr<ModelHub::Name> ModelHub::Resolve(const std::string& folder, const std::string& name) const {
  std::set<Name> found;
  const auto look = [&](const Name& file) {
    if (file.second == name && (folder.empty() || file.first == folder)) found.insert(file);
  };
  for (const auto list = library_.models(); const LibraryModel& model : *list) look({model.folder, model.name});
  for (const auto& [worker, state] : workers_)
    if (state.connected)
      for (const auto& [file, fact] : state.files) look(file);
  if (found.empty())
    return NotFound("no model \"", name, "\"", folder.empty() ? "" : Cat(" in the folder ", folder),
                    "; `atelier models` lists them");
  if (found.size() > 1 && folder.empty())
    return InvalidArgument("\"", name, "\" is in ", found.begin()->first, " and ", found.rbegin()->first,
                           "; name it with its folder, as ", found.begin()->first, "/", name);
  return *found.begin();
}

StatusOr<v1::ModelEntry> ModelHub::Order(const v1::OrderModelRequest& request, const std::vector<Name>& keep) {
  Name name;
  {
    const std::lock_guard lock(mutex_);
    ASSIGN_OR_RETURN(name, Resolve(request.folder(), request.name()));
    const auto worker_of = [&](const std::string& worker) -> StatusOr<WorkerState*> {
      auto state = workers_.find(worker);
      if (state == workers_.end() || !state->second.connected)
        return NotFound("no worker \"", worker, "\" is connected; see `atelier workers`");
      return &state->second;
    };
    if (request.action() == "pull") {
      ASSIGN_OR_RETURN(WorkerState* const worker, worker_of(request.worker()));
      if (!worker->shares)
        return FailedPrecondition("worker \"", request.worker(),
                                  "\" takes no models: it has no models folder, or was started with --no-share");
      const auto source = SourceOf(name, request.worker());
      const auto here = worker->files.find(name);
      if (here == worker->files.end()) {
        if (!source) return NotFound("no connected machine has \"", name.second, "\"");
        OrderState& order = orders_[{request.worker(), name}];
        if (order.state == "failed") order = {};
        order.asked = true;
        order.keep = keep;
        SendOrder(request.worker(), name, order);
      } else if (source && !here->second.hash.empty() && !source->hash.empty() && here->second.hash != source->hash) {
        return FailedPrecondition("worker \"", request.worker(), "\" has another file \"", name.second,
                                  "\", which is its user's: rename or remove it there");
      }
    } else if (request.action() == "cancel") {
      RETURN_IF_ERROR(worker_of(request.worker()).status());
      orders_.erase({request.worker(), name});
      v1::ToWorker message;
      message.mutable_fetch_model()->set_folder(name.first);
      message.mutable_fetch_model()->set_name(name.second);
      message.mutable_fetch_model()->set_cancel(true);
      options_.send(request.worker(), std::move(message));
    } else if (request.action() == "pin" || request.action() == "unpin") {
      if (!request.worker().empty()) RETURN_IF_ERROR(worker_of(request.worker()).status());
      bool any = false, own = false;
      for (const auto& [worker, state] : workers_) {
        if (!state.connected || (!request.worker().empty() && worker != request.worker())) continue;
        const auto file = state.files.find(name);
        if (file == state.files.end()) continue;
        own |= !file->second.brought;
        if (!file->second.brought) continue;
        any = true;
        v1::ToWorker message;
        message.mutable_pin_model()->set_folder(name.first);
        message.mutable_pin_model()->set_name(name.second);
        message.mutable_pin_model()->set_pinned(request.action() == "pin");
        options_.send(worker, std::move(message));
      }
      if (!any && own)
        return FailedPrecondition("\"", name.second,
                                  "\" was put there by its owner: it is never removed, pinned or not");
      if (!any) return NotFound("no such worker has \"", name.second, "\"");
    } else {
      return InvalidArgument("action \"", request.action(), "\" is none of pull, cancel, pin, unpin");
    }
  }
  return Entry(name);
}

v1::ModelEntry ModelHub::Entry(const Name& name) const {
  const v1::ListModelsReply all = List(name.first);
  v1::ModelEntry entry;
  for (const v1::ModelEntry& one : all.models()) {
    if (one.name() != name.second) continue;
    if (entry.name().empty()) {
      entry = one;
    } else {
      for (const v1::ModelHolder& holder : one.holders()) *entry.add_holders() = holder;
    }
  }
  return entry;
}

v1::ListModelsReply ModelHub::List(const std::string& folder) const {
  std::map<std::tuple<std::string, std::string, std::string>, v1::ModelEntry> table;  // folder, name, hash
  const auto entry = [&](const Name& name, const std::string& hash, uint64_t size) -> v1::ModelEntry& {
    v1::ModelEntry& made = table[{name.first, name.second, hash}];
    made.set_folder(name.first);
    made.set_name(name.second);
    made.set_hash(hash);
    made.set_size(size);
    return made;
  };
  for (const auto list = library_.models(); const LibraryModel& model : *list) {
    if (!folder.empty() && model.folder != folder) continue;
    v1::ModelHolder& holder = *entry({model.folder, model.name}, model.hash, model.size).add_holders();
    holder.set_worker("master");
    holder.set_master(true);
  }
  const std::lock_guard lock(mutex_);
  for (const auto& [worker, state] : workers_) {
    if (!state.connected) continue;
    for (const auto& [name, fact] : state.files) {
      if (!folder.empty() && name.first != folder) continue;
      v1::ModelHolder& holder = *entry(name, fact.hash, fact.size).add_holders();
      holder.set_worker(worker);
      holder.set_brought(fact.brought);
      holder.set_pinned(fact.pinned);
    }
  }
  for (const auto& [key, order] : orders_) {
    const auto& [worker, name] = key;
    if (!folder.empty() && name.first != folder) continue;
    v1::ModelHolder& holder = *entry(name, order.hash, order.size).add_holders();
    holder.set_worker(worker);
    holder.set_state(order.state);
    holder.set_bytes(order.bytes);
    holder.set_error(order.error);
  }
  v1::ListModelsReply reply;
  for (auto& [key, made] : table) *reply.add_models() = std::move(made);
  return reply;
}

// ---- bytes ----

std::vector<std::string> ModelHub::HoldersOf(const std::string& hash) const {
  std::vector<std::string> holders;
  if (hash.empty()) return holders;
  for (const auto& [worker, state] : workers_) {
    if (!state.connected || !state.shares) continue;
    if (std::any_of(state.files.begin(), state.files.end(), [&](const auto& f) { return f.second.hash == hash; }))
      holders.push_back(worker);
  }
  return holders;
}

StatusOr<std::string> ModelHub::Ask(const std::string& worker, const std::string& hash, std::optional<uint32_t> index) {
  std::unique_lock lock(mutex_);
  if (tickets_.size() >= kTicketsMax) return Unavailable("too many chunks are on their way through the master");
  const uint64_t id = next_ticket_++;
  tickets_[id].worker = worker;
  v1::ToWorker message;
  message.mutable_want_part()->set_ticket(id);
  message.mutable_want_part()->set_hash(hash);
  message.mutable_want_part()->set_manifest(!index.has_value());
  message.mutable_want_part()->set_index(index.value_or(0));
  options_.send(worker, std::move(message));
  changed_.wait_for(lock, kPartWait, [&] { return stop_ || tickets_.at(id).part.has_value(); });
  std::optional<StatusOr<std::string>> part = std::move(tickets_.at(id).part);
  tickets_.erase(id);
  if (!part) return Unavailable("worker \"", worker, "\" did not answer for a part of a model");
  return std::move(*part);
}

Status ModelHub::Give(const std::string& caller, uint64_t ticket, StatusOr<std::string> part) {
  const std::lock_guard lock(mutex_);
  auto waiting = tickets_.find(ticket);
  if (waiting == tickets_.end() || waiting->second.part || (!caller.empty() && waiting->second.worker != caller))
    return NotFound("nobody waits for this part any more");
  waiting->second.part = std::move(part);
  changed_.notify_all();
  return OkStatus();
}

StatusOr<std::shared_ptr<const ModelManifest>> ModelHub::ManifestOf(const std::string& hash) {
  if (auto own = library_.Open(hash); own.ok()) return own->manifest;
  std::vector<std::string> holders;
  {
    const std::lock_guard lock(mutex_);
    const auto known = manifests_.find(hash);
    if (known != manifests_.end()) return known->second;
    holders = HoldersOf(hash);
  }
  Status last = NotFound("no connected machine has a model with the hash ", hash);
  for (const std::string& worker : holders) {
    const StatusOr<std::string> bytes = Ask(worker, hash, std::nullopt);
    if (!bytes.ok()) {
      last = bytes.status();
      continue;
    }
    v1::ModelManifest wire;
    if (!wire.ParseFromString(*bytes)) continue;
    ModelManifest manifest = FromProto(wire);
    if (!CheckManifest(manifest).ok() || manifest.hash != hash) continue;
    auto made = std::make_shared<const ModelManifest>(std::move(manifest));
    const std::lock_guard lock(mutex_);
    if (manifests_.size() >= kManifestsMax) manifests_.erase(manifests_.begin());
    manifests_[hash] = made;
    return made;
  }
  return last;
}

StatusOr<v1::ModelManifest> ModelHub::Manifest(const std::string& hash) {
  ASSIGN_OR_RETURN(const auto manifest, ManifestOf(hash));
  return ToProto(*manifest);
}

StatusOr<v1::NextChunkReply> ModelHub::Next(const v1::NextChunkRequest& request) {
  ASSIGN_OR_RETURN(const auto manifest, ManifestOf(request.hash()));
  const size_t chunks = manifest->chunks.size();
  if (request.have().size() != (chunks + 7) / 8)
    return InvalidArgument("a map of ", request.have().size(), " bytes for ", chunks, " chunks");
  if (request.faults_size() > kFaultsMax)
    return InvalidArgument(request.faults_size(), " faults at once; expected at most ", kFaultsMax);
  ModelTracker::Question question;
  question.worker = request.worker();
  question.hash = request.hash();
  question.have.resize(chunks);
  for (size_t i = 0; i < chunks; ++i)
    question.have[i] = ((static_cast<unsigned char>(request.have()[i / 8]) >> (i % 8)) & 1U) != 0;
  for (const v1::ChunkFault& fault : request.faults()) {
    if (fault.index() >= chunks || !Knows(fault.source())) continue;
    question.faults.push_back({fault.index(), fault.source(), fault.damaged()});
    if (fault.damaged())
      LogWarning("chunk ", fault.index(), " of model ", request.hash().substr(0, 12), " reached worker \"",
                 request.worker(), "\" damaged from ",
                 fault.source().empty() ? "the master" : Cat("worker \"", fault.source(), "\""),
                 "; it is fetched elsewhere");
  }
  const bool own = library_.FindHash(request.hash()).has_value();
  v1::NextChunkReply reply;
  std::unique_lock lock(mutex_);
  const auto until = std::chrono::steady_clock::now() + kWaitMax;
  ++turn_;
  changed_.notify_all();
  for (;;) {
    question.whole.clear();
    question.reachable.clear();
    const std::vector<std::string> holders = HoldersOf(request.hash());
    for (const auto& [name, state] : workers_)
      if (state.connected && !state.address.empty()) question.reachable.insert(name);
    for (const std::string& name : holders)
      if (question.reachable.contains(name)) question.whole.insert(name);
    question.master_has = own || std::any_of(holders.begin(), holders.end(),
                                             [&](const std::string& name) { return name != request.worker(); });
    const ModelTracker::Answer answer = tracker_.Next(question, NowMs());
    question.faults.clear();
    switch (answer.kind) {
      case ModelTracker::Answer::kFetch:
        reply.set_assigned(true);
        reply.set_index(static_cast<uint32_t>(answer.index));
        reply.set_source(answer.source);
        if (!answer.source.empty()) {
          const WorkerState& giver = workers_.at(answer.source);
          reply.set_address(giver.address);
          reply.set_key(IsLoopback(giver.address)
                            ? giver.key
                            : MakePeerTicket(giver.key, request.worker(), request.hash(), reply.index(),
                                             std::time(nullptr) + kPeerTicketSeconds));
        }
        return reply;
      case ModelTracker::Answer::kNobody:
        return NotFound("no connected machine has the model any more");
      case ModelTracker::Answer::kDamaged:
        return DataLoss("every machine that has the model gave other bytes than its hash says; replace the file");
      case ModelTracker::Answer::kWait:
        break;
    }
    const bool complete = std::find(question.have.begin(), question.have.end(), false) == question.have.end();
    const uint64_t seen = turn_;
    if (complete || !changed_.wait_until(lock, until, [&] { return stop_ || turn_ != seen; }) || stop_) return reply;
  }
}

StatusOr<std::string> ModelHub::Chunk(const std::string& hash, uint32_t index) {
  ASSIGN_OR_RETURN(const auto manifest, ManifestOf(hash));
  if (index >= manifest->chunks.size()) return InvalidArgument("chunk ", index, " of ", manifest->chunks.size());
  Status last = NotFound("no connected machine has a model with the hash ", hash);
  const auto right = [&](const std::string& bytes) { return Sha256Hex(bytes) == manifest->chunks[index]; };
  if (const auto own = library_.Open(hash); own.ok()) {
    StatusOr<std::string> bytes = ReadModelChunk(own->fd.get(), *manifest, index);
    if (bytes.ok() && right(*bytes)) return bytes;
    last = DataLoss("chunk ", index, " of ", own->path, " no longer has the bytes that it was hashed with");
    LogWarning(Message(last), "; asking workers for it. Replace the file");
  }
  std::vector<std::string> holders;
  {
    const std::lock_guard lock(mutex_);
    holders = HoldersOf(hash);
    if (!holders.empty()) std::rotate(holders.begin(), holders.begin() + index % holders.size(), holders.end());
  }
  for (const std::string& worker : holders) {
    StatusOr<std::string> bytes = Ask(worker, hash, index);
    if (bytes.ok() && right(*bytes)) {
      ++relayed_;
      return bytes;
    }
    last = bytes.ok() ? DataLoss("worker \"", worker, "\" gave other bytes for chunk ", index) : bytes.status();
    LogWarning(Message(last));
    if (stop_) break;
  }
  return last;
}

// ---- pushed by a person ----

StatusOr<v1::PushModelReply> ModelHub::Push(const v1::PushModelRequest& request) {
  const ModelManifest manifest = FromProto(request.manifest());
  RETURN_IF_ERROR(CheckManifest(manifest));
  if (options_.roots.empty()) return FailedPrecondition("the master has no models folder; set models.roots");
  v1::PushModelReply reply;
  library_.Refresh();
  if (const auto here = library_.Find(request.folder(), request.name())) {
    if (here->hash.empty()) {
      library_.Hurry(request.folder(), request.name());
      return FailedPrecondition("the master has a file of this name and is hashing it; push again in a moment");
    }
    if (here->hash != manifest.hash)
      return FailedPrecondition("the master has another file \"", request.name(), "\" in its folder ", request.folder(),
                                "; give this one another name with --as");
    reply.set_complete(true);
    return reply;
  }
  std::shared_ptr<Pushed> pushed;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(pushed_, [&](const auto& entry) { return NowMs() - entry.second->used_ms > kPushIdleMs; });
    auto known = pushed_.find(manifest.hash);
    if (known != pushed_.end()) pushed = known->second;
    if (pushed == nullptr && pushed_.size() >= kPushesMax)
      return ResourceExhausted("there are ", pushed_.size(), " models being pushed already; try again later");
  }
  if (pushed == nullptr) {
    auto opened = PartialModel::Open(options_.roots.front(), request.folder(), request.name(), manifest);
    if (opened.status().code() == StatusCode::kUnavailable) return FailedPrecondition(Message(opened.status()));
    if (!opened.ok()) return opened.status();
    pushed = std::make_shared<Pushed>();
    pushed->partial = std::move(*opened);
    const std::lock_guard lock(mutex_);
    pushed->used_ms = NowMs();
    pushed_[manifest.hash] = pushed;
  }
  if (pushed->partial->Missing() == 0) {
    const Status finished = pushed->partial->Finish(stop_);
    if (finished.ok()) {
      library_.Know(pushed->partial->path(), manifest);
      library_.Refresh();
      reply.set_complete(true);
      LogInfo("model ", request.folder(), "/", request.name(), " was pushed, ", Size(manifest.size));
    }
    if (finished.code() != StatusCode::kDataLoss) {
      const std::lock_guard lock(mutex_);
      pushed_.erase(manifest.hash);
    }
    if (!finished.ok() && finished.code() != StatusCode::kDataLoss) return finished;
  }
  const std::vector<bool> have = pushed->partial->Have();
  std::string bits((have.size() + 7) / 8, '\0');
  for (size_t i = 0; i < have.size(); ++i)
    if (have[i]) bits[i / 8] = static_cast<char>(static_cast<unsigned char>(bits[i / 8]) | (1U << (i % 8)));
  reply.set_have(bits);
  return reply;
}

Status ModelHub::PushChunk(const std::string& hash, uint32_t index, const std::string& bytes) {
  std::shared_ptr<Pushed> pushed;
  {
    const std::lock_guard lock(mutex_);
    auto known = pushed_.find(hash);
    if (known == pushed_.end()) return NotFound("this model is not being pushed; begin again");
    pushed = known->second;
    pushed->used_ms = NowMs();
  }
  return pushed->partial->Write(index, bytes);
}

}  // namespace atelier
