#include "worker/share/model_share.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "atelier/v1/models.grpc.pb.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/log.h"
#include "common/files/model_library.h"
#include "common/files/models.h"
#include "common/files/partial_model.h"
#include "common/files/throttle.h"
#include "common/security/identity.h"
#include "worker/share/calls.h"
#include "worker/share/model_store.h"
#include "worker/share/peer_server.h"

namespace atelier {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kOrdersMax = 1000;
constexpr size_t kPartsMax = 64;  // that the master waits for
constexpr int kChunksAtOnce = 3;
constexpr int kRepairsMax = 3;  // times that a file is read back and found damaged
constexpr int64_t kCallMs = 15'000;
constexpr int64_t kChunkMs = 120'000;  // a chunk may come through two slow lines
constexpr milliseconds kRetry{500};
constexpr milliseconds kTellEvery{500};  // of progress
constexpr size_t kReportBytesMax = 1 << 20;
constexpr double kStaleSeconds = 14 * 86'400.0;

int64_t NowUnix() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string RandomKey() {
  std::random_device random;
  std::string key;
  for (int i = 0; i < 8; ++i) {
    const uint32_t word = random();
    for (int nibble = 0; nibble < 8; ++nibble) key += "0123456789abcdef"[(word >> (4 * nibble)) & 15];
  }
  return key;
}

bool IsTransient(const Status& status) {
  return status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded;
}

ModelManifest FromProto(const v1::ModelManifest& from) {
  return {from.hash(), from.size(), {from.chunks().begin(), from.chunks().end()}};
}

std::string Bits(const std::vector<bool>& have) {
  std::string bits((have.size() + 7) / 8, '\0');
  for (size_t i = 0; i < have.size(); ++i)
    if (have[i]) bits[i / 8] = static_cast<char>(static_cast<unsigned char>(bits[i / 8]) | (1U << (i % 8)));
  return bits;
}

}  // namespace

class ModelShare::Impl {
 public:
  explicit Impl(ShareOptions options)
      : options_(std::move(options)),
        key_(RandomKey()),
        take_(options_.bytes_per_second),
        give_(options_.bytes_per_second),
        stub_(v1::ModelService::NewStub(options_.master)),
        library_({options_.roots, options_.state_dir.empty() ? "" : options_.state_dir + "/hashes", kScanMs,
                  [this] { Tell(); }}) {
    if (Shares()) store_.emplace(options_.roots.front(), options_.disk_bytes_max);
  }

  ~Impl() { Stop(); }

  Status Start() {
    library_.Start();
    if (!Shares()) return OkStatus();
    fetch_thread_ = std::thread([this] { FetchLoop(); });
    give_thread_ = std::thread([this] { GiveLoop(); });
    return StartPeers(options_.peer_listen);
  }

  void Stop() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      give_up_ = true;
      changed_.notify_all();
    }
    calls_.CancelAll();
    take_.Stop();
    give_.Stop();
    library_.Stop();
    for (std::thread* thread : {&fetch_thread_, &give_thread_})
      if (thread->joinable()) thread->join();
    std::unique_ptr<PeerServer> peers;  // ends without the lock, which its calls take
    {
      const std::lock_guard lock(mutex_);
      peers.swap(peers_);
    }
  }

  void SetChannel(const std::shared_ptr<grpc::Channel>& master) {
    std::shared_ptr<v1::ModelService::Stub> stub = v1::ModelService::NewStub(master);
    std::unique_ptr<PeerServer> old;
    {
      const std::lock_guard lock(mutex_);
      stub_ = std::move(stub);
      if (options_.peer_listen.empty() || IsLoopback(options_.peer_listen) || stop_ || IdentityNow() == peers_identity_)
        return;
      channels_.clear();
      old = std::move(peers_);
    }
    const std::string listen = old == nullptr ? options_.peer_listen : old->address();
    old.reset();
    if (const Status started = StartPeers(listen); !started.ok()) LogWarning(Message(started));
  }

  Inventory Files() const { return library_.inventory(); }

  void FillAttach(v1::Attach& attach) const {
    attach.set_shares_models(Shares());
    const std::lock_guard lock(mutex_);
    if (peers_ == nullptr) return;
    attach.set_peer_address(peers_->address());
    attach.set_peer_key(key_);
  }

  std::vector<v1::FromWorker> Messages(bool whole) {
    std::vector<v1::FromWorker> messages;
    if (!Shares()) return messages;
    std::map<ModelStore::Name, bool> brought;  // to pinned
    for (const ModelStore::Entry& entry : store_->Entries()) brought[{entry.folder, entry.name}] = entry.pinned;
    const auto list = library_.models();
    const std::lock_guard lock(mutex_);
    if (whole) told_.clear();
    size_t bytes = 0;
    const auto add = [&](v1::ModelFact fact) {
      const size_t size = fact.ByteSizeLong() + 8;
      if (messages.empty() || bytes + size > kReportBytesMax) {
        messages.emplace_back();
        messages.back().mutable_models()->set_whole(whole && messages.size() == 1);
        bytes = 0;
      }
      bytes += size;
      *messages.back().mutable_models()->add_facts() = std::move(fact);
    };
    if (whole) {
      messages.emplace_back();
      messages.back().mutable_models()->set_whole(true);
    }
    std::set<ModelStore::Name> here;
    for (const LibraryModel& model : *list) {
      const ModelStore::Name name{model.folder, model.name};
      const auto ours = brought.find(name);
      here.insert(name);
      Fact fact{model.size, model.hash, ours != brought.end(), ours != brought.end() && ours->second};
      auto [told, fresh] = told_.emplace(name, fact);
      if (!fresh && told->second == fact) continue;
      told->second = fact;
      v1::ModelFact wire;
      wire.set_folder(model.folder);
      wire.set_name(model.name);
      wire.set_size(model.size);
      wire.set_hash(model.hash);
      wire.set_brought(fact.brought);
      wire.set_pinned(fact.pinned);
      add(std::move(wire));
    }
    for (auto it = told_.begin(); it != told_.end();) {
      if (here.contains(it->first)) {
        ++it;
        continue;
      }
      v1::ModelFact wire;
      wire.set_folder(it->first.first);
      wire.set_name(it->first.second);
      wire.set_gone(true);
      add(std::move(wire));
      it = told_.erase(it);
    }
    for (auto& [name, progress] : progress_) {
      if (!whole && !progress.news) continue;
      progress.news = false;
      *messages.emplace_back().mutable_model_progress() = progress.wire;
    }
    std::erase_if(partials_, [&](const auto& entry) {  // the library reads these from now on
      return entry.second->Missing() == 0 && library_.FindHash(entry.first).has_value();
    });
    std::erase_if(progress_, [](const auto& entry) {
      return entry.second.wire.state() == "done" || entry.second.wire.state() == "failed";
    });
    return messages;
  }

  bool Handle(const v1::ToWorker& message) {
    switch (message.kind_case()) {
      case v1::ToWorker::kFetchModel:
        Order(message.fetch_model());
        return true;
      case v1::ToWorker::kPinModel: {
        const v1::PinModel& pin = message.pin_model();
        const Status pinned = store_ ? store_->Pin(pin.folder(), pin.name(), pin.pinned())
                                     : FailedPrecondition("this worker shares no models");
        if (!pinned.ok()) LogWarning("pin of \"", pin.name(), "\": ", Message(pinned));
        Tell();
        return true;
      }
      case v1::ToWorker::kWantPart: {
        const std::lock_guard lock(mutex_);
        if (parts_.size() < kPartsMax) parts_.push_back(message.want_part());
        changed_.notify_all();
        return true;
      }
      default:
        return false;
    }
  }

  void Used(const std::string& folder, const std::string& name) {
    if (store_) store_->Used(folder, name, NowUnix());
  }

 private:
  static constexpr int64_t kScanMs = 15'000;

  struct Fact {
    uint64_t size = 0;
    std::string hash;
    bool brought = false, pinned = false;
    bool operator==(const Fact&) const = default;
  };
  struct Progress {
    v1::ModelProgress wire;
    bool news = true;
  };
  using Partial = std::shared_ptr<PartialModel>;

  std::shared_ptr<v1::ModelService::Stub> Master() {
    const std::lock_guard lock(mutex_);
    return stub_;
  }

  bool Shares() const { return !options_.state_dir.empty() && !options_.roots.empty(); }

  void Tell() {
    if (options_.changed) options_.changed();
  }

  // ---- Fetching ----

  void Order(const v1::FetchModel& order) {
    const ModelStore::Name name{order.folder(), order.name()};
    {
      const std::lock_guard lock(mutex_);
      if (order.cancel()) {
        std::erase_if(orders_, [&](const auto& o) { return o.folder() == order.folder() && o.name() == order.name(); });
        if (fetching_ == name) give_up_ = true;
        changed_.notify_all();
        return;
      }
      const bool known = fetching_ == name || std::any_of(orders_.begin(), orders_.end(), [&](const auto& o) {
                           return o.folder() == order.folder() && o.name() == order.name();
                         });
      if (known) return;
      if (orders_.size() < kOrdersMax && Shares()) {
        orders_.push_back(order);
        changed_.notify_all();
      }
    }
    if (Shares())
      Note(order, "waiting", 0, "");
    else
      Note(order, "failed", 0, "this worker brings no models: it has no models folder, or was started with --no-share");
  }

  void Note(const v1::FetchModel& order, const char* state, uint64_t bytes, const std::string& error) {
    {
      const std::lock_guard lock(mutex_);
      Progress& progress = progress_[{order.folder(), order.name()}];
      progress.news = true;
      progress.wire.set_folder(order.folder());
      progress.wire.set_name(order.name());
      progress.wire.set_hash(order.hash());
      progress.wire.set_size(order.size());
      progress.wire.set_bytes(bytes);
      progress.wire.set_state(state);
      progress.wire.set_error(error);
    }
    Tell();
  }

  void FetchLoop() {
    RemoveStalePartials(options_.roots.front(), kStaleSeconds);
    for (;;) {
      v1::FetchModel order;
      {
        std::unique_lock lock(mutex_);
        fetching_ = {};
        changed_.wait(lock, [&] { return stop_ || !orders_.empty(); });
        if (stop_) return;
        order = std::move(orders_.front());
        orders_.pop_front();
        fetching_ = {order.folder(), order.name()};
        give_up_ = false;
      }
      LogInfo("fetching model ", order.folder(), "/", order.name(), ", ", order.size() >> 20, " MiB");
      const Clock::time_point begin = Clock::now();
      const Status fetched = Fetch(order);
      if (stop_) return;
      if (fetched.ok()) {
        LogInfo("model ", order.folder(), "/", order.name(), " is here after ",
                std::chrono::duration<double>(Clock::now() - begin).count(), " s");
        Note(order, "done", order.size(), "");
      } else {
        LogWarning("model ", order.folder(), "/", order.name(), " could not be fetched: ", Message(fetched));
        Note(order, "failed", 0, Message(fetched));
      }
    }
  }

  // False when the fetch is over meanwhile.
  bool Pause(milliseconds time) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [&] { return give_up_.load(); });
    return !give_up_;
  }

  StatusOr<ModelManifest> GetManifest(const std::string& hash) {
    for (;;) {
      CallSet::Call call(calls_, kCallMs);
      v1::ManifestRequest request;
      request.set_hash(hash);
      v1::ModelManifest reply;
      const Status status = FromGrpc(Master()->GetManifest(call.get(), request, &reply));
      if (status.ok()) {
        ModelManifest manifest = FromProto(reply);
        RETURN_IF_ERROR(CheckManifest(manifest));
        if (manifest.hash != hash) return DataLoss("the master's manifest is of another file");
        return manifest;
      }
      if (!IsTransient(status)) return status;
      if (!Pause(kRetry)) return Cancelled("no longer wanted");
    }
  }

  Status Fetch(const v1::FetchModel& order) {
    if (!IsSha256Hex(order.hash())) return InvalidArgument("the master named no hash");
    RETURN_IF_ERROR(ModelPlace(order.folder(), order.name()).status());
    if (const auto here = library_.Find(order.folder(), order.name())) {
      if (here->hash == order.hash()) return OkStatus();
      return FailedPrecondition("there is another file of this name (", here->path,
                                "); nothing of the user's is replaced: rename or remove it");
    }
    ASSIGN_OR_RETURN(const ModelManifest manifest, GetManifest(order.hash()));
    if (manifest.size != order.size())
      return DataLoss("the manifest tells ", manifest.size, " bytes, the order ", order.size());
    std::set<ModelStore::Name> keep;
    for (const v1::ModelName& name : order.keep()) keep.emplace(name.folder(), name.name());
    const std::string& root = options_.roots.front();
    const bool begun = PartialModel::Begun(root, order.folder(), order.name(), manifest);
    ASSIGN_OR_RETURN(const auto removed, store_->MakeRoom(manifest.size, begun ? manifest.size : 0, keep));
    for (const ModelStore::Entry& entry : removed)
      LogInfo("model ", entry.folder, "/", entry.name, " was removed to make room; it had not been used for longest");
    if (!removed.empty()) library_.Rescan();

    Partial partial;
    for (;;) {
      auto opened = PartialModel::Open(root, order.folder(), order.name(), manifest);
      if (opened.ok()) {
        partial = std::move(*opened);
        break;
      }
      // A worker that shares the folder brings it: it will be here soon.
      if (opened.status().code() == StatusCode::kAlreadyExists) {
        library_.Rescan();
        return OkStatus();
      }
      if (opened.status().code() != StatusCode::kUnavailable) return opened.status();
      if (!Pause(kRetry)) return Cancelled("no longer wanted");
    }
    {
      const std::lock_guard lock(mutex_);
      partials_[order.hash()] = partial;
    }
    const size_t resumed = manifest.chunks.size() - partial->Missing();
    if (resumed > 0) LogInfo("going on with ", resumed, " of ", manifest.chunks.size(), " chunks");
    Status finished;
    for (int round = 0; round <= kRepairsMax; ++round) {
      finished = FetchChunks(order, partial);
      if (!finished.ok()) break;
      finished = partial->Finish(give_up_, [&](const ModelIdentity& identity) {
        return store_->Added(order.folder(), order.name(), order.hash(), identity, NowUnix());
      });
      if (finished.code() != StatusCode::kDataLoss) break;
      LogWarning(Message(finished), "; fetching those again");
    }
    if (finished.ok()) {
      library_.Know(partial->path(), manifest);
      library_.Refresh();  // so that the file is told before its end is
      if (options_.on_point) options_.on_point("named");
    }
    const std::lock_guard lock(mutex_);
    // Peers may still read it through this descriptor until the library knows the file.
    if (!finished.ok()) partials_.erase(order.hash());
    while (partials_.size() > kPartialsKept) partials_.erase(partials_.begin());
    return finished;
  }

  Status FetchChunks(const v1::FetchModel& order, const Partial& partial) {
    std::array<std::thread, kChunksAtOnce> threads;
    std::array<Status, kChunksAtOnce> ends;
    for (int i = 0; i < kChunksAtOnce; ++i)
      threads[static_cast<size_t>(i)] =
          std::thread([&, i] { ends[static_cast<size_t>(i)] = ChunkLoop(order, *partial); });
    for (std::thread& thread : threads) thread.join();
    if (partial->Missing() == 0) {
      // The others learn that the last chunks are here, before it is checked and named.
      std::vector<v1::ChunkFault> none;
      (void)NextChunk(order, *partial, none).status();
      return OkStatus();
    }
    for (const Status& end : ends)
      if (!end.ok()) return end;
    return Cancelled("no longer wanted");
  }

  StatusOr<v1::NextChunkReply> NextChunk(const v1::FetchModel& order, const PartialModel& partial,
                                         std::vector<v1::ChunkFault>& faults) {
    CallSet::Call call(calls_, kCallMs);
    v1::NextChunkRequest request;
    request.set_worker(options_.worker);
    request.set_hash(order.hash());
    request.set_have(Bits(partial.Have()));
    for (const v1::ChunkFault& fault : faults) *request.add_faults() = fault;
    v1::NextChunkReply reply;
    const Status status = FromGrpc(Master()->NextChunk(call.get(), request, &reply));
    if (!status.ok()) return status;
    faults.clear();
    return reply;
  }

  Status ChunkLoop(const v1::FetchModel& order, PartialModel& partial) {
    std::vector<v1::ChunkFault> faults;
    while (!give_up_ && partial.Missing() > 0) {
      const StatusOr<v1::NextChunkReply> next = NextChunk(order, partial, faults);
      if (!next.ok()) {
        if (!IsTransient(next.status())) return next.status();
        if (!Pause(kRetry)) break;
        continue;
      }
      if (!next->assigned()) continue;  // the master has waited
      const StatusOr<std::string> bytes = GetChunk(order.hash(), *next, partial.manifest());
      Status written = bytes.status();
      if (bytes.ok()) written = partial.Write(next->index(), *bytes);
      if (written.ok()) {
        if (options_.on_point) options_.on_point("chunk");
        ProgressOf(order, partial);
        continue;
      }
      if (give_up_) break;
      const bool damaged = written.code() == StatusCode::kDataLoss;
      if (bytes.ok() && !damaged) return written;  // the disk
      LogWarning("chunk ", next->index(), " of ", order.name(), " from ",
                 next->source().empty() ? std::string("the master") : Cat("worker \"", next->source(), "\""), ": ",
                 Message(written), "; asking elsewhere");
      v1::ChunkFault& fault = faults.emplace_back();
      fault.set_index(next->index());
      fault.set_source(next->source());
      fault.set_damaged(damaged);
      if (!damaged && next->source().empty() && !Pause(kRetry)) break;
    }
    return OkStatus();
  }

  StatusOr<std::string> GetChunk(const std::string& hash, const v1::NextChunkReply& from,
                                 const ModelManifest& manifest) {
    if (from.index() >= manifest.chunks.size()) return InvalidArgument("the master named a chunk that is none");
    const uint64_t size = manifest.ChunkSize(from.index());
    CallSet::Call call(calls_, kChunkMs);
    v1::ChunkRequest request;
    request.set_hash(hash);
    request.set_index(from.index());
    const std::shared_ptr<v1::ModelService::Stub> master = Master();
    std::unique_ptr<v1::PeerService::Stub> peer;
    std::unique_ptr<grpc::ClientReader<v1::ChunkPiece>> reader;
    if (from.source().empty()) {
      reader = master->GetChunk(call.get(), request);
    } else {
      request.set_key(from.key());
      ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel, ChannelTo(from.address()));
      peer = v1::PeerService::NewStub(channel);
      reader = peer->GetChunk(call.get(), request);
    }
    std::string bytes;
    bytes.reserve(size);
    v1::ChunkPiece piece;
    while (reader->Read(&piece)) {
      if (bytes.size() + piece.data().size() > size) call.get()->TryCancel();
      if (bytes.size() <= size) bytes += piece.data();
      if (!take_.Take(piece.data().size())) call.get()->TryCancel();
    }
    const Status end = FromGrpc(reader->Finish());
    if (bytes.size() > size) return DataLoss("chunk ", from.index(), " has more bytes than its manifest says");
    if (!end.ok()) return end;
    return bytes;
  }

  StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const std::string& address) {
    const std::shared_ptr<const Identity> identity = IsLoopback(address) ? nullptr : IdentityNow();
    if (identity == nullptr && !IsLoopback(address))
      return Unavailable("\"", address, "\" is not of this machine, and this worker has no identity to show there");
    const std::lock_guard lock(mutex_);
    auto& channel = channels_[address];
    if (channel == nullptr) channel = MakeChannel(address, 1000, identity.get(), kWorkerName);
    while (channels_.size() > kChannelsMax)
      channels_.erase(channels_.begin()->first == address ? std::next(channels_.begin()) : channels_.begin());
    return channels_.at(address);
  }

  void ProgressOf(const v1::FetchModel& order, const PartialModel& partial) {
    const size_t done = partial.manifest().chunks.size() - partial.Missing();
    {
      const std::lock_guard lock(mutex_);
      const Clock::time_point now = Clock::now();
      if (now - progress_told_ < kTellEvery) return;
      progress_told_ = now;
    }
    Note(order, "fetching", std::min(order.size(), done * kModelChunkBytes), "");
  }

  // ---- Giving ----

  // What peers are shown; null on loopback, where a key does.
  std::shared_ptr<const Identity> IdentityNow() const { return options_.identity ? options_.identity() : nullptr; }

  Status StartPeers(const std::string& listen) {
    if (listen.empty()) return OkStatus();
    const std::shared_ptr<const Identity> identity = IdentityNow();
    ASSIGN_OR_RETURN(std::unique_ptr<PeerServer> started,
                     PeerServer::Start(
                         listen, key_, IsLoopback(listen) ? nullptr : identity.get(),
                         [this](const std::string& hash, uint32_t index) { return ReadChunk(hash, index); }, &give_));
    const std::lock_guard lock(mutex_);
    peers_identity_ = identity;
    if (!stop_) peers_.swap(started);
    return OkStatus();
  }

  StatusOr<std::string> ReadChunk(const std::string& hash, uint32_t index) {
    Partial partial;
    {
      const std::lock_guard lock(mutex_);
      const auto it = partials_.find(hash);
      if (it != partials_.end()) partial = it->second;
    }
    if (partial != nullptr) return partial->Read(index);
    ASSIGN_OR_RETURN(const ModelLibrary::Opened file, library_.Open(hash));
    return ReadModelChunk(file.fd.get(), *file.manifest, index);
  }

  StatusOr<std::string> PartOf(const v1::WantPart& want) {
    if (!want.manifest()) return ReadChunk(want.hash(), want.index());
    ASSIGN_OR_RETURN(const ModelLibrary::Opened file, library_.Open(want.hash()));
    v1::ModelManifest manifest;
    manifest.set_hash(file.manifest->hash);
    manifest.set_size(file.manifest->size);
    for (const std::string& chunk : file.manifest->chunks) manifest.add_chunks(chunk);
    return manifest.SerializeAsString();
  }

  void GiveLoop() {
    for (;;) {
      v1::WantPart want;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || !parts_.empty(); });
        if (stop_) return;
        want = std::move(parts_.front());
        parts_.pop_front();
      }
      const StatusOr<std::string> part = PartOf(want);
      CallSet::Call call(calls_, kChunkMs);
      v1::GivePartReply reply;
      const auto master = Master();
      const auto writer = master->GivePart(call.get(), &reply);
      v1::PartPiece piece;
      piece.set_ticket(want.ticket());
      if (!part.ok()) piece.set_error(Message(part.status()));
      size_t sent = 0;
      do {
        if (part.ok()) {
          const size_t n = std::min(part->size() - sent, static_cast<size_t>(limits::kChunkBytes));
          piece.set_data(part->data() + sent, n);
          sent += n;
          if (!give_.Take(n)) break;
        }
        if (!writer->Write(piece)) break;
        piece.clear_ticket();
      } while (part.ok() && sent < part->size());
      writer->WritesDone();
      const Status given = FromGrpc(writer->Finish());
      if (!given.ok() && !stop_) LogDebug("a part of a model was not taken: ", Message(given));
    }
  }

  static constexpr size_t kPartialsKept = 4;
  static constexpr size_t kChannelsMax = 64;

  const ShareOptions options_;
  const std::string key_;
  Throttle take_, give_;
  CallSet calls_;
  std::optional<ModelStore> store_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> give_up_ = false;  // the present fetch, or everything

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<v1::ModelService::Stub> stub_;
  std::deque<v1::FetchModel> orders_;
  std::deque<v1::WantPart> parts_;
  ModelStore::Name fetching_;
  std::map<ModelStore::Name, Fact> told_;
  std::map<ModelStore::Name, Progress> progress_;  // bounded by the orders
  std::map<std::string, Partial> partials_;        // by hash
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
  Clock::time_point progress_told_{};
  std::unique_ptr<PeerServer> peers_;
  std::shared_ptr<const Identity> peers_identity_;  // that peers_ was started with

  ModelLibrary library_;
  std::thread fetch_thread_, give_thread_;
};

ModelShare::ModelShare(ShareOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
ModelShare::~ModelShare() = default;
Status ModelShare::Start() { return impl_->Start(); }
void ModelShare::Stop() { impl_->Stop(); }
void ModelShare::SetChannel(const std::shared_ptr<grpc::Channel>& master) { impl_->SetChannel(master); }
Inventory ModelShare::Files() const { return impl_->Files(); }
void ModelShare::FillAttach(v1::Attach& attach) const { impl_->FillAttach(attach); }
std::vector<v1::FromWorker> ModelShare::Messages(bool whole) { return impl_->Messages(whole); }
bool ModelShare::Handle(const v1::ToWorker& message) { return impl_->Handle(message); }
void ModelShare::Used(const std::string& folder, const std::string& name) { impl_->Used(folder, name); }

}  // namespace atelier
