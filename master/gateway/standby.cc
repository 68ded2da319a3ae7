#include "master/gateway/standby.h"

#include <grpcpp/generic/async_generic_service.h>

#include <cstdlib>
#include <mutex>

#include "common/base/log.h"
#include "common/obs/metrics.h"
#include "common/obs/notify.h"
#include "common/rpc/protocol.h"
#include "common/security/identity.h"

namespace atelier {
namespace {

constexpr long kLookEveryNs = 100'000'000;
constexpr const char* kPlainText = "text/plain; charset=utf-8";

// Refuses every call, whatever its name, with where to go. The gate of the credentials has been passed by then.
class Refusals final : public grpc::CallbackGenericService {
 public:
  void Say(std::string text) {
    const std::lock_guard lock(mutex_);
    text_ = std::move(text);
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    class Refusal final : public grpc::ServerGenericBidiReactor {
     public:
      explicit Refusal(const std::string& text) { Finish({grpc::StatusCode::UNAVAILABLE, text, kStandbyDetail}); }
      void OnDone() override { delete this; }
    };
    // The one method that anybody may call: a stranger learns no address.
    return new Refusal(context->method().ends_with("/Join") ? "this master stands by; ask another one" : text());
  }

 private:
  std::mutex mutex_;
  std::string text_;
};

// What a master that stands by serves.
class Front {
 public:
  static StatusOr<std::unique_ptr<Front>> Open(const StandbyOptions& options) {
    std::unique_ptr<Front> front(new Front);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(options.listen, options.credentials, &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.RegisterCallbackGenericService(&front->refusals_);
    front->server_ = builder.BuildAndStart();
    if (front->server_ == nullptr || port == 0)
      return Unavailable("cannot listen on ", options.listen,
                         ": the port is in use or the address is not this machine's; give another with --listen or "
                         "master.listen");
    if (options.probes_listen.empty()) return front;
    auto probes = ProbeServer::Start(
        options.probes_listen,
        [refusals = &front->refusals_](std::string_view path) { return Answer(*refusals, path); },
        options.probes_guard);
    if (probes.ok())
      front->probes_ = std::move(*probes);
    else
      LogWarning("no health: ", Message(probes.status()), "; set metrics.listen");
    return front;
  }
  ~Front() {
    probes_.reset();
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;
  void Say(const std::string& text) { refusals_.Say(text); }

 private:
  Front() = default;
  static ProbeReply Answer(Refusals& refusals, std::string_view path) {
    if (path == "/healthz") return {200, kPlainText, "ok\n"};
    if (path == "/readyz") return {503, kPlainText, Cat("standby: ", refusals.text(), "\n")};
    if (path != "/metrics") return {404, kPlainText, "there are: /metrics /healthz /readyz\n"};
    MetricsText out;
    out.Gauge("atelier_build_info", "Always 1; the labels tell the version.", 1,
              {{"version", kProgramVersion}, {"protocol", std::to_string(kProtocolVersion)}});
    out.Gauge("atelier_ready", "1 when jobs are accepted.", 0);
    out.Gauge("atelier_standby", "1 while another master is the active one.", 1);
    out.Process();
    return {200, "text/plain; version=0.0.4; charset=utf-8", out.Take()};
  }

  Refusals refusals_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ProbeServer> probes_;
};

}  // namespace

StatusOr<PostgresOptions> PostgresOptionsOf(const ClusterConfig& config, const std::string& holder,
                                            std::function<void(const Status&)> lost) {
  // Taken out of the environment, which local workers inherit.
  static const std::string given = [] {
    const char* password = std::getenv("PGPASSWORD");
    std::string kept = password == nullptr ? "" : password;
    unsetenv("PGPASSWORD");
    return kept;
  }();
  PostgresOptions options{config.store.url, given, holder, std::move(lost)};
  if (!config.store.password_file.empty()) {
    ASSIGN_OR_RETURN(options.password, ReadSecretFile(config.store.password_file));
    while (!options.password.empty() && (options.password.back() == '\n' || options.password.back() == '\r'))
      options.password.pop_back();
  }
  return options;
}

StatusOr<std::unique_ptr<JobStore>> StandBy(const StandbyOptions& options) {
  std::unique_ptr<PostgresDatabase> database;
  std::unique_ptr<Front> front;
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  std::string told;
  for (;;) {
    StatusOr<bool> taken = false;
    std::string said;
    if (database == nullptr) {
      auto again = PostgresDatabase::Connect(options.database);
      if (again.ok())
        database = std::move(*again);
      else if (again.status().code() != StatusCode::kUnavailable)
        return again.status();
      else
        taken = again.status();
    }
    if (database != nullptr) taken = database->TryTake();
    if (taken.ok() && *taken) {
      front.reset();  // the ports are the active master's now
      LogInfo("this master is the active one of its database (term ", database->term(), ")");
      return std::make_unique<JobStore>(std::move(database));
    }
    const StatusOr<std::string> active = taken.ok() ? database->ActiveMaster() : StatusOr<std::string>(taken.status());
    if (active.ok()) {
      said = Cat("this master stands by; the active one is at ", *active);
    } else {
      said = Cat("this master stands by: ", Message(active.status()));
      database.reset();
    }
    if (front == nullptr) {
      ASSIGN_OR_RETURN(front, Front::Open(options));
      if (options.stands_by) options.stands_by();
      NotifyManager("READY=1\nSTATUS=stands by");
    }
    front->Say(said);
    if (said != told) LogInfo(said);
    told = said;
    NotifyManager("WATCHDOG=1");
    const timespec pause{0, kLookEveryNs};
    if (sigtimedwait(&ends, nullptr, &pause) > 0) {
      NotifyManager("STOPPING=1");
      LogInfo("ended while standing by");
      return std::unique_ptr<JobStore>();
    }
  }
}

}  // namespace atelier
