#include "worker/session/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "atelier/v1/session.grpc.pb.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/log_fields.h"
#include "common/base/utf8.h"
#include "common/files/files.h"
#include "common/files/models.h"
#include "common/json/json.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "common/rpc/join.h"
#include "worker/session/blob_cache.h"
#include "worker/session/lease.h"
#include "worker/session/report.h"
#include "worker/session/session_state.h"
#include "worker/share/model_share.h"

namespace atelier {
namespace {

using Clock = SessionState::Clock;
using std::chrono::milliseconds;

constexpr size_t kLogBytesMax = 8192;  // of one line
constexpr milliseconds kWelcomeTimeout{10'000};
constexpr milliseconds kGoodbyeTimeout{2'000};
constexpr milliseconds kHangUpTimeout{200};
constexpr milliseconds kStopTimeout{3'000};  // for a cancelled node to notice
constexpr milliseconds kRetryFirst{50};
constexpr milliseconds kRetrySoonMax{1'000};  // while the master has been away for less than kAwayLong
constexpr milliseconds kRetryMax{5'000};
constexpr milliseconds kAwayLong{60'000};
constexpr milliseconds kPreviewEvery{250};
constexpr size_t kPreviewBytesMax = 256 << 10;
constexpr int64_t kInventoryBytesMax = 3 << 20;  // of an attach message; names beyond it are left out

std::string RandomId() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    const uint32_t word = random();
    for (int nibble = 0; nibble < 8; ++nibble) id += "0123456789abcdef"[(word >> (4 * nibble)) & 15];
  }
  return id;
}

bool IsTransient(const Status& status) {
  return status.code() == StatusCode::kUnavailable || status.code() == StatusCode::kDeadlineExceeded;
}

}  // namespace

Catalog RegisteredCatalog() {
  Catalog catalog;
  const Registry<NodeType>& registry = Registry<NodeType>::Get();
  for (const std::string& name : registry.Names()) catalog.Add(registry.Find(name)->spec());
  return catalog;
}

class Session::Impl {
 public:
  explicit Impl(SessionOptions options)
      : options_(std::move(options)),
        catalog_(RegisteredCatalog()),
        instance_(RandomId()),
        masters_(SplitAddresses(options_.master)),
        blob_client_(Dial()),
        blob_cache_(options_.blob_cache_bytes_max),
        executor_(options_.executor),
        share_({Dial(), options_.name, options_.model_roots, options_.state_dir, options_.models_disk_bytes_max,
                options_.models_bytes_per_second, options_.peer_listen, options_.identity,
                [this] { TellModels(false); }, options_.on_point}) {
    catalog_digest_ = catalog_.Digest();
    inventory_ = share_.Files().files;
  }

  ~Impl() {
    Stop();
    for (std::thread* thread : {&execute_thread_, &upload_thread_, &prefetch_thread_})
      if (thread->joinable()) thread->join();
  }

  Status Run() {
    execute_thread_ = std::thread([this] {
      const std::function<void()> body = [this] { ExecuteLoop(); };
      options_.executor_scope ? options_.executor_scope(body) : body();
    });
    upload_thread_ = std::thread([this] { UploadLoop(); });
    prefetch_thread_ = std::thread([this] { PrefetchLoop(); });
    if (const Status sharing = share_.Start(); !sharing.ok()) LogWarning(Message(sharing));
    ConnectLoop();
    Stop();
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kStopTimeout, [&] { return executor_ended_; }))
      return DeadlineExceeded("the running node does not stop");
    return OkStatus();
  }

  void Drain(const std::string& reason, int64_t deadline_ms) {
    LogInfo("draining: ", reason);
    const std::lock_guard lock(mutex_);
    const Clock::time_point deadline = Clock::now() + milliseconds(deadline_ms);
    drain_deadline_ = state_.draining ? std::min(drain_deadline_, deadline) : deadline;
    state_.draining = true;
    state_.HandBackQueued(reason);
    changed_.notify_all();
  }

  void SendLog(LogLevel level, const std::string& text, const std::string& task_id) {
    const std::lock_guard lock(mutex_);
    v1::LogLine line;
    line.set_level(static_cast<uint32_t>(level));
    line.set_text(CutUtf8(text, kLogBytesMax));
    const LogFields about = CurrentLogFields();
    line.set_task_id(task_id.empty() ? about.task : task_id);
    line.set_attempt(about.attempt);
    line.set_trace_id(about.trace);
    state_.Log(std::move(line));
    if (state_.welcomed) changed_.notify_all();
  }

  void Redial() {
    const std::lock_guard lock(mutex_);
    redial_ = true;
    changed_.notify_all();
  }

  bool Attached() {
    const std::lock_guard lock(mutex_);
    return state_.welcomed;
  }

 private:
  std::shared_ptr<grpc::Channel> Dial() {
    const std::shared_ptr<const Identity> identity = options_.identity ? options_.identity() : nullptr;
    return MakeChannel(Master(), 1000, identity.get());
  }
  const std::string& Master() const { return masters_[at_]; }

  using Stream = grpc::ClientReaderWriter<v1::FromWorker, v1::ToWorker>;

  // ---- Connection: the thread of Run() ----

  void ConnectLoop() {
    milliseconds wait = kRetryFirst;
    Clock::time_point lost = Clock::now();
    struct Told {
      std::string text;
      Clock::time_point when;
    };
    std::vector<Told> told(masters_.size());
    std::minstd_rand jitter(std::random_device{}());
    for (;;) {
      const bool was_welcomed = ConnectOnce();
      Told& last = told[at_];
      // Of several masters one is active: after a stream has ended, that may be another one.
      if (masters_.size() > 1) {
        at_ = (at_ + 1) % masters_.size();
        refused_ = false;
        const std::lock_guard lock(mutex_);
        redial_ = true;
      }
      if (was_welcomed) {
        wait = kRetryFirst;
        lost = Clock::now();
        for (Told& one : told) one.text.clear();
      }
      const Clock::time_point now = Clock::now();
      // One line when it is lost or another reason comes up, then one a minute.
      if (!Drained() && !end_text_.empty() && (end_text_ != last.text || now - last.when > kAwayLong)) {
        LogWarning(end_text_);
        last = {end_text_, now};
      }
      if (refused_) wait = kRetryMax;
      const milliseconds pause = wait * std::uniform_int_distribution<int>(80, 120)(jitter) / 100;
      wait = std::min(wait * 3 / 2, now - lost > kAwayLong ? kRetryMax : kRetrySoonMax);
      std::unique_lock lock(mutex_);
      const Clock::time_point until = now + pause;
      for (;;) {
        CheckDrainDeadline();
        if (state_.Drained()) return;
        if (Clock::now() >= until) break;
        changed_.wait_until(lock, state_.draining ? std::min(until, drain_deadline_) : until);
      }
    }
  }

  // One stream from dialling to its end; whether the master welcomed us. Sets end_text_ and refused_.
  bool ConnectOnce() {
    bool redial = false;
    {
      const std::lock_guard lock(mutex_);
      redial = std::exchange(redial_, false);
    }
    if (redial) {
      blob_client_.SetChannel(Dial());
      share_.SetChannel(Dial());
    }
    const std::shared_ptr<grpc::Channel> channel = Dial();
    const auto stub = v1::WorkerService::NewStub(channel);
    grpc::ClientContext context;
    const std::unique_ptr<Stream> stream = stub->Connect(&context);
    bool was_welcomed = false;
    refused_ = false;
    end_text_.clear();
    if (stream->Write(AttachMessage())) {
      {
        const std::lock_guard lock(mutex_);
        stream_closed_ = false;
        last_received_ = Clock::now();
        state_.BeginStream();
      }
      std::thread writer([&] { WriteLoop(*stream, context); });
      v1::ToWorker message;
      while (stream->Read(&message)) {
        if (message.has_welcome()) {
          was_welcomed = Welcomed(message.welcome());
          if (!was_welcomed) {
            context.TryCancel();
            break;
          }
        } else {
          Handle(message);
        }
        message.Clear();
      }
      {
        const std::lock_guard lock(mutex_);
        stream_closed_ = true;
        state_.EndStream();
        changed_.notify_all();
      }
      writer.join();
    }
    const Status end = FromGrpc(stream->Finish());
    if (was_welcomed) {
      const std::lock_guard lock(mutex_);
      if (redial_) return true;  // on purpose: nothing to tell
    }
    if (end_text_.empty()) {
      switch (end.code()) {
        case StatusCode::kFailedPrecondition:
          if (options_.protocol == kProtocolVersion && offered_ > kProtocolOldest) {
            offered_ = kProtocolOldest;
            end_text_ = Cat("the master at ", Master(), " does not take protocol ", options_.protocol,
                            "; dialling again with ", offered_, ", in case it is older");
            break;
          }
          offered_ = options_.protocol;
          refused_ = true;
          end_text_ = Cat("the master at ", Master(), " refused this worker: ", Message(end));
          break;
        case StatusCode::kUnauthenticated:
        case StatusCode::kPermissionDenied:
          refused_ = true;
          end_text_ = Cat("the master at ", Master(), " refused this worker's certificate: ", Message(end));
          break;
        case StatusCode::kAlreadyExists:
        case StatusCode::kInvalidArgument:
        case StatusCode::kResourceExhausted:
          end_text_ = Cat("the master at ", Master(), " refused this worker for now: ", Message(end));
          break;
        default:
          end_text_ = was_welcomed ? Cat("lost the master at ", Master(), "; dialling again until it is back")
                                   : Cat("no master answers at ", Master(), " (", Message(end),
                                         "); dialling again until it does: start it, or correct --master");
      }
    }
    return was_welcomed;
  }

  v1::FromWorker AttachMessage() {
    v1::FromWorker message;
    v1::Attach& attach = *message.mutable_attach();
    attach.set_protocol(offered_);
    attach.set_version(options_.version);
    attach.set_name(options_.name);
    attach.set_device(options_.device);
    attach.set_device_name(options_.device_name);
    attach.set_memory_bytes(options_.memory_bytes);
    attach.set_memory_free_bytes(options_.memory_free ? options_.memory_free() : 0);
    attach.set_catalog_digest(catalog_digest_);
    attach.set_instance(instance_);
    for (const std::string& tag : options_.tags) attach.add_tags(tag);
    share_.FillAttach(attach);
    auto files = share_.Files().files;
    const std::lock_guard lock(mutex_);
    inventory_ = std::move(files);
    FillInventory(*attach.mutable_inventory());
    state_.FillHeld(attach);
    return message;
  }

  void FillInventory(google::protobuf::RepeatedPtrField<v1::InventoryFolder>& folders) {
    int64_t bytes = 0;
    for (const auto& [folder, names] : inventory_) {
      v1::InventoryFolder& wire = *folders.Add();
      wire.set_folder(folder);
      for (const std::string& name : names) {
        bytes += static_cast<int64_t>(name.size()) + 4;
        if (bytes > kInventoryBytesMax) return;
        wire.add_names(name);
      }
    }
  }

  bool Welcomed(const v1::Welcome& welcome) {
    if (welcome.protocol() != offered_) {
      refused_ = true;
      end_text_ = Cat("this worker is version ", options_.version, " (protocol ", options_.protocol,
                      "), the master at ", Master(), " is version ", welcome.master_version(), " (protocol ",
                      welcome.protocol(), "): install the same version on both");
      return false;
    }
    {
      const std::lock_guard lock(mutex_);
      last_received_ = Clock::now();
      state_.Welcome(welcome, last_received_);
      const uint32_t per_minute = welcome.previews_per_minute_max();
      preview_every_ =
          per_minute == 0 ? milliseconds::zero() : std::max(kPreviewEvery, milliseconds(60'000 / per_minute));
      changed_.notify_all();
    }
    LogInfo("attached to the master at ", Master(), " (version ", welcome.master_version(), ") as \"", options_.name,
            "\"");
    TellModels(true);
    return true;
  }

  void Handle(v1::ToWorker& message) {
    bool cancelled = false;
    std::string drain_reason;
    const bool of_models = share_.Handle(message);
    {
      const std::lock_guard lock(mutex_);
      last_received_ = Clock::now();
      switch (of_models ? v1::ToWorker::KIND_NOT_SET : message.kind_case()) {
        case v1::ToWorker::kLease:
          cancelled = state_.TakeLease(std::move(*message.mutable_lease()));
          break;
        case v1::ToWorker::kCancel:
          cancelled = state_.Cancel(message.cancel());
          break;
        case v1::ToWorker::kAck:
          state_.Acknowledge(message.ack());
          break;
        case v1::ToWorker::kDrain:
          drain_reason = message.drain().reason().empty() ? "the master asked for it" : message.drain().reason();
          break;
        case v1::ToWorker::kWantCatalog: {
          v1::FromWorker answer;
          answer.mutable_catalog()->set_json(DumpJson(catalog_.ToJson()));
          state_.outbox.push_back(std::move(answer));
          break;
        }
        default:
          break;  // heartbeat: nothing to do
      }
      state_.MaybePull();
      changed_.notify_all();
    }
    if (message.has_settings() && options_.on_settings)
      options_.on_settings(message.settings().report_desktop(), message.settings().power_watts());
    if (cancelled && options_.on_cancel) options_.on_cancel();
    if (!drain_reason.empty()) Drain(drain_reason, kNoDeadlineMs);
  }

  bool Drained() {
    const std::lock_guard lock(mutex_);
    return state_.Drained();
  }

  void CheckDrainDeadline() {
    if (!state_.draining || Clock::now() < drain_deadline_ || state_.attempts.empty()) return;
    state_.HandBackAll("the worker is ending");
    // Called with our lock held: a hook may take its own lock, but never calls us under it.
    if (options_.on_cancel) options_.on_cancel();
    changed_.notify_all();
  }

  void FillHeartbeat(v1::Heartbeat& heartbeat) const {
    if (options_.memory_free) heartbeat.set_memory_free_bytes(options_.memory_free());
    const auto desktop = options_.desktop ? options_.desktop() : std::nullopt;
    if (!desktop) return;
    heartbeat.mutable_desktop()->set_idle_seconds(desktop->idle_seconds);
    heartbeat.mutable_desktop()->set_unknown(desktop->unknown);
  }

  // ---- Writer: one thread a stream ----

  void WriteLoop(Stream& stream, grpc::ClientContext& context) {
    std::unique_lock lock(mutex_);
    const Clock::time_point welcome_by = Clock::now() + kWelcomeTimeout;
    while (!stream_closed_) {
      const Clock::time_point now = Clock::now();
      CheckDrainDeadline();
      v1::FromWorker message;
      if (state_.welcomed && state_.NextMessage(message, now)) {
        lock.unlock();
        if (message.has_heartbeat()) FillHeartbeat(*message.mutable_heartbeat());
        const bool written = stream.Write(message);
        lock.lock();
        if (!written) break;
        continue;
      }
      if (redial_ || state_.left || (state_.Drained() && !state_.welcomed)) break;
      const Clock::time_point silent_after =
          state_.welcomed ? last_received_ + std::max(3 * state_.heartbeat, milliseconds(500)) : welcome_by;
      if (now >= silent_after) break;  // and the connection is made anew
      Clock::time_point wake = silent_after;
      if (state_.welcomed) wake = std::min(wake, state_.next_heartbeat);
      if (state_.draining && !state_.attempts.empty()) wake = std::min(wake, drain_deadline_);
      changed_.wait_until(lock, wake);
    }
    // A master that still hears us sees us hang up, not die.
    lock.unlock();
    stream.WritesDone();
    lock.lock();
    changed_.wait_for(lock, state_.left ? kGoodbyeTimeout : kHangUpTimeout, [&] { return stream_closed_; });
    if (!stream_closed_) context.TryCancel();
  }

  // ---- Executor thread ----

  class Host;

  void ExecuteLoop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || !state_.queue.empty(); });
      if (stopping_) break;
      const AttemptPtr attempt = state_.queue.front();
      state_.queue.pop_front();
      state_.running = attempt;
      changed_.notify_all();  // the next one's inputs may be fetched
      lock.unlock();
      Execute(attempt);
      lock.lock();
      state_.running = nullptr;
      state_.MaybePull();
      changed_.notify_all();
    }
    executor_ended_ = true;
    changed_.notify_all();
  }

  void Execute(const AttemptPtr& attempt);

  // The result of an attempt is known: it is told now, or once its blobs are at the master.
  void Finish(const AttemptPtr& attempt, v1::FromWorker report, std::vector<ResultBlob> blobs) {
    if (options_.on_point) options_.on_point("executed");
    const std::lock_guard lock(mutex_);
    if (attempt->cancelled) return;
    state_.Finish(attempt, std::move(report), std::move(blobs));
    changed_.notify_all();
  }

  // ---- Uploads ----

  void UploadLoop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || (state_.welcomed && !state_.uploads.empty()); });
      if (stopping_) return;
      const AttemptPtr attempt = state_.uploads.front();
      state_.uploads.pop_front();
      const std::vector<ResultBlob> blobs = attempt->blobs;
      lock.unlock();
      const Status status = Upload(blobs);
      if (status.ok() && options_.on_point) options_.on_point("uploaded");
      lock.lock();
      if (attempt->cancelled) continue;
      if (IsTransient(status) || status.code() == StatusCode::kCancelled) {
        state_.UploadAgain(attempt);
        changed_.wait_for(lock, kRetryFirst * 4, [&] { return stopping_ || !state_.welcomed; });
        continue;
      }
      if (!status.ok()) {
        attempt->report =
            FailedReport(attempt->lease, Annotate(status, "the master could not store the result"), "", true);
        attempt->blobs.clear();
      }
      state_.Uploaded(attempt);
      changed_.notify_all();
    }
  }

  Status Upload(const std::vector<ResultBlob>& blobs) {
    std::vector<std::string> hashes;
    for (const ResultBlob& blob : blobs) hashes.push_back(blob.hash);
    ASSIGN_OR_RETURN(const std::vector<bool> have, blob_client_.Have(hashes));
    for (size_t i = 0; i < blobs.size(); ++i)
      if (!have[i]) RETURN_IF_ERROR(blob_client_.Put(blobs[i].hash, *blobs[i].bytes));
    return OkStatus();
  }

  // ---- Inputs ----

  // The same without keeping it, unless it is here already.
  StatusOr<BlobCache::Bytes> FetchBlobOnce(const std::string& hash, int64_t bytes_max) {
    if (BlobCache::Bytes kept = blob_cache_.Find(hash)) return kept;
    ASSIGN_OR_RETURN(std::string bytes, blob_client_.Get(hash, bytes_max));
    return std::make_shared<const std::string>(std::move(bytes));
  }

  StatusOr<BlobCache::Bytes> FetchBlob(const std::string& hash, int64_t bytes_max) {
    return blob_cache_.Get(hash, [&](const std::string& name) { return blob_client_.Get(name, bytes_max); });
  }

  void PrefetchLoop() {
    std::unique_lock lock(mutex_);
    AttemptPtr last;
    for (;;) {
      // Only while another task runs; else the executor fetches for itself.
      changed_.wait(lock, [&] {
        return stopping_ || (state_.running != nullptr && !state_.queue.empty() && state_.queue.front() != last);
      });
      if (stopping_) return;
      last = state_.queue.front();
      lock.unlock();
      for (const auto& [hash, size] : BlobsAhead(last->lease)) {
        if (last->cancelled || !FetchBlob(hash, size).ok()) break;  // the executor meets the error itself
      }
      lock.lock();
    }
  }

  // Tells the master which files are here and on their way: all of it, or what is new.
  void TellModels(bool whole) {
    const std::lock_guard telling(tell_mutex_);
    {
      const std::lock_guard lock(mutex_);
      if (!state_.welcomed) return;
    }
    auto files = share_.Files().files;
    std::vector<v1::FromWorker> messages = share_.Messages(whole);
    const std::lock_guard lock(mutex_);
    if (!state_.welcomed) return;  // the next welcome tells all
    if (files != inventory_) {
      inventory_ = std::move(files);
      v1::FromWorker message;
      FillInventory(*message.mutable_inventory()->mutable_folders());
      state_.outbox.push_back(std::move(message));
    }
    for (v1::FromWorker& message : messages) state_.outbox.push_back(std::move(message));
    changed_.notify_all();
  }

  void Stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      state_.draining = true;
      if (state_.running != nullptr) state_.running->cancelled = true;
      changed_.notify_all();
    }
    blob_client_.CancelAll();
    share_.Stop();
    if (options_.on_cancel) options_.on_cancel();
  }

  static constexpr int64_t kNoDeadlineMs = 365LL * 24 * 3600 * 1000;

  const SessionOptions options_;
  const Catalog catalog_;
  std::string catalog_digest_;
  const std::string instance_;
  const std::vector<std::string> masters_;
  size_t at_ = 0;           // of masters_; of the thread of Run()
  BlobClient blob_client_;  // on a connection of its own, so that a tensor never delays a heartbeat
  BlobCache blob_cache_;
  Executor executor_;  // of the executor thread

  // Of the thread of Run().
  std::string end_text_;
  bool refused_ = false;
  uint32_t offered_ = options_.protocol;  // what the next attach says

  // Never log while this is held: the log's sink takes it.
  std::mutex mutex_;
  std::condition_variable changed_;
  SessionState state_;
  std::map<std::string, std::vector<std::string>> inventory_;
  bool stream_closed_ = true;
  bool redial_ = false;
  bool stopping_ = false;
  bool executor_ended_ = false;
  Clock::time_point drain_deadline_;
  Clock::time_point last_received_;
  milliseconds preview_every_{kPreviewEvery};  // 0: none are wanted

  std::mutex tell_mutex_;  // taken before mutex_
  ModelShare share_;
  std::thread execute_thread_, upload_thread_, prefetch_thread_;
};

// What the executor sees of the session while one attempt runs.
class Session::Impl::Host : public ExecutorHost {
 public:
  Host(Impl& session, Attempt& attempt) : session_(session), attempt_(attempt), sizes_(BlobsOf(attempt.lease)) {}

  StatusOr<std::shared_ptr<const std::string>> Blob(const std::string& hash) override { return Fetch(hash, true); }
  StatusOr<std::shared_ptr<const std::string>> BlobOnce(const std::string& hash) override { return Fetch(hash, false); }
  StatusOr<std::shared_ptr<const std::string>> Fetch(const std::string& hash, bool keep) {
    const auto size = sizes_.find(hash);
    if (size == sizes_.end()) return InvalidArgument("blob ", hash, " is not of this task");
    for (;;) {
      StatusOr<BlobCache::Bytes> bytes =
          keep ? session_.FetchBlob(hash, size->second) : session_.FetchBlobOnce(hash, size->second);
      if (bytes.ok()) return bytes;
      if (!IsTransient(bytes.status())) {
        surroundings_failed_ = true;
        return bytes;
      }
      // The master is away: the task waits for it as long as nobody wants the task back.
      std::unique_lock lock(session_.mutex_);
      session_.changed_.wait_for(lock, kRetryFirst * 4, [&] { return attempt_.cancelled.load(); });
      if (attempt_.cancelled) return Cancelled("the task was cancelled");
    }
  }
  StatusOr<std::string> ModelPath(std::string_view folder, std::string_view name) override {
    StatusOr<std::string> path = ResolveModel(session_.options_.model_roots, folder, name);
    if (path.status().code() == StatusCode::kNotFound) surroundings_failed_ = true;
    if (path.ok()) session_.share_.Used(std::string(folder), std::string(name));
    return path;
  }
  std::string ModelIdentity(std::string_view folder, std::string_view name) override {
    const StatusOr<std::string> path = ResolveModel(session_.options_.model_roots, folder, name);
    if (!path.ok()) return "";
    const StatusOr<FileIdentity> identity = StatFile(*path);
    return identity.ok() ? Cat(*path, ":", identity->size, ":", identity->mtime_ns) : "";
  }
  bool cancelled() const override { return attempt_.cancelled; }
  void Progress(const std::string& node, int64_t step, int64_t total,
                const std::function<std::string()>& preview) override {
    std::string picture;
    const Clock::time_point now = Clock::now();
    if (preview && PreviewDue(now)) {
      picture = preview();
      if (picture.size() > kPreviewBytesMax) picture.clear();
      last_preview_ = now;
    }
    const std::lock_guard lock(session_.mutex_);
    session_.state_.Progress(attempt_, node, step, total, std::move(picture));
    session_.changed_.notify_all();
  }
  void Warn(const std::string& node, const std::string& message) override {
    session_.SendLog(LogLevel::kWarning, Cat("node \"", node, "\": ", message), attempt_.lease.task_id());
  }
  double Seconds() const override { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

  // Whether another worker may do better: models and blobs that are missing here, memory, bugs; not the input's own
  // faults.
  bool RetryElsewhere(const Status& status) const {
    if (status.code() == StatusCode::kInvalidArgument) return false;
    if (status.code() == StatusCode::kNotFound) return surroundings_failed_;
    return true;
  }

 private:
  bool PreviewDue(Clock::time_point now) {
    const std::lock_guard lock(session_.mutex_);
    return session_.preview_every_ != milliseconds::zero() && session_.state_.welcomed &&
           now - last_preview_ >= session_.preview_every_;
  }

  Impl& session_;
  Attempt& attempt_;
  const std::map<std::string, int64_t> sizes_;
  bool surroundings_failed_ = false;
  Clock::time_point last_preview_{};
};

void Session::Impl::Execute(const AttemptPtr& attempt) {
  const v1::Lease& lease = attempt->lease;
  const LogScope scope(
      {.job = lease.job_id(), .task = lease.task_id(), .attempt = lease.attempt(), .trace = lease.trace_id()});
  if (options_.on_point) options_.on_point("started");
  Host host(*this, *attempt);
  LogDebug("task ", lease.task_id(), " begins");
  const Clock::time_point start = Clock::now();
  const StatusOr<Fragment> fragment = FragmentOf(attempt->lease);
  StatusOr<FragmentResult> result = fragment.ok()
                                        ? executor_.Run(*fragment, host)
                                        : StatusOr<FragmentResult>(Annotate(fragment.status(), "the fragment"));
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (attempt->cancelled) return;
  if (!result.ok()) {
    LogWarning("task ", attempt->lease.task_id(), " failed: ", Message(result.status()));
    Finish(attempt,
           FailedReport(attempt->lease, result.status(), executor_.failed_node(), host.RetryElsewhere(result.status())),
           {});
    return;
  }
  std::vector<ResultBlob> blobs;
  const bool once = result->once;
  v1::FromWorker report = DoneReport(lease, std::move(*result), seconds, blobs);
  for (int i = 0; !once && i < report.done().results_size(); ++i)
    blob_cache_.Put(blobs[i].hash, blobs[i].bytes);  // a later task here may need it
  LogDebug("task ", lease.task_id(), " executed in ", seconds, " s");
  Finish(attempt, std::move(report), std::move(blobs));
}

Session::Session(SessionOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Session::~Session() = default;
Status Session::Run() { return impl_->Run(); }
void Session::Drain(const std::string& reason, int64_t deadline_ms) { impl_->Drain(reason, deadline_ms); }
void Session::Redial() { impl_->Redial(); }
bool Session::Attached() { return impl_->Attached(); }
void Session::SendLog(LogLevel level, const std::string& text, const std::string& task_id) {
  impl_->SendLog(level, text, task_id);
}

}  // namespace atelier
