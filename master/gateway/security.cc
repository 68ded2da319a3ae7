#include "master/gateway/security.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "common/files/files.h"
#include "master/gateway/standby.h"

namespace atelier {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kLocalSeconds = 600;

std::string Folder(const std::string& state_dir) { return state_dir + "/authority"; }
std::string AuthorityFile(const std::string& state_dir) { return Folder(state_dir) + "/authority.pem"; }
std::string ServerFile(const std::string& state_dir) { return Folder(state_dir) + "/server.pem"; }
std::string HttpKeyFile(const std::string& state_dir) { return Folder(state_dir) + "/http.key"; }
std::string IdentitiesFile(const std::string& state_dir) { return Folder(state_dir) + "/identities.db"; }

StatusOr<std::unique_ptr<IdentityStore>> OpenIdentities(const std::string& state_dir, const ClusterConfig& config) {
  if (config.store.kind != "postgres") return IdentityStore::Open(IdentitiesFile(state_dir));
  ASSIGN_OR_RETURN(PostgresOptions options, PostgresOptionsOf(config, "", nullptr));
  if (fs::exists(IdentitiesFile(state_dir)))
    LogWarning(IdentitiesFile(state_dir), " is not used: with store.kind postgres the identities lie in the database; ",
               "whoever had joined before joins again with a new token. Remove the file");
  return IdentityStore::OnPostgres(std::move(options));
}

int64_t WorkerSeconds(const ClusterConfig& config) { return static_cast<int64_t>(config.security.worker_hours * 3600); }
int64_t PersonSeconds(const ClusterConfig& config) {
  return static_cast<int64_t>(config.security.person_days * 86'400);
}

std::string HostName() {
  char host[HOST_NAME_MAX + 1] = "localhost";
  gethostname(host, sizeof host - 1);
  return host;
}

std::string PortOf(const std::string& address) { return address.substr(address.rfind(':') + 1); }

bool IsWildcard(const std::string& address) {
  const std::string host = address.substr(0, address.rfind(':'));
  return host == "0.0.0.0" || host == "[::]" || host == "*";
}

// The first address of this machine that is not loopback, IPv4 before IPv6; else its name.
std::string OwnHost() {
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return HostName();
  std::string found;
  for (const int family : {AF_INET, AF_INET6}) {
    for (const ifaddrs* one = list; one != nullptr && found.empty(); one = one->ifa_next) {
      if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != family || (one->ifa_flags & IFF_LOOPBACK) != 0 ||
          (one->ifa_flags & IFF_UP) == 0)
        continue;
      char text[INET6_ADDRSTRLEN] = "";
      if (family == AF_INET) {
        inet_ntop(family, &reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr, text, sizeof text);
        found = text;
      } else {
        const in6_addr& address = reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr;
        if (IN6_IS_ADDR_LINKLOCAL(&address)) continue;  // needs an interface's name
        inet_ntop(family, &address, text, sizeof text);
        found = Cat("[", text, "]");
      }
    }
  }
  freeifaddrs(list);
  return found.empty() ? HostName() : found;
}

// A name for who runs this, out of letters that a certificate takes.
std::string PersonName() {
  const char* user = std::getenv("SUDO_USER");
  if (user == nullptr || *user == '\0') user = std::getenv("USER");
  std::string name = Cat(user == nullptr || *user == '\0' ? "operator" : user, ".", HostName()).substr(0, 64);
  for (char& c : name)
    if (!IsIdentityName(std::string_view(&c, 1))) c = '_';
  return name;
}

// Run by root for a daemon with a user of its own: the files are that user's.
Status GiveToOwner(const std::string& state_dir) {
  struct stat owner {};
  if (geteuid() != 0 || stat(state_dir.c_str(), &owner) != 0 || owner.st_uid == 0) return OkStatus();
  const auto failed = [&] {
    return FailedPrecondition("the files in ", Folder(state_dir), " cannot be given to the owner of ", state_dir);
  };
  // By its descriptor: the owner may put a link in the folder's place at any time.
  const UniqueFd folder(open(Folder(state_dir).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder.valid() || fchown(folder.get(), owner.st_uid, owner.st_gid) != 0) return failed();
  std::error_code error;
  for (fs::directory_iterator it(Cat("/proc/self/fd/", folder.get()), error), end; !error && it != end;
       it.increment(error)) {
    const UniqueFd file(
        openat(folder.get(), it->path().filename().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat kind {};
    if (!file.valid() || fstat(file.get(), &kind) != 0 || !S_ISREG(kind.st_mode) || kind.st_nlink != 1 ||
        fchown(file.get(), owner.st_uid, owner.st_gid) != 0)
      return failed();
  }
  return OkStatus();
}

}  // namespace

bool UsesTls(const ClusterConfig& config, const std::string& listen) {
  return config.security.tls == "always" || !IsLoopback(listen);
}

StatusOr<std::unique_ptr<Security>> OpenSecurity(const std::string& state_dir, const ClusterConfig& config) {
  StatusOr<Authority> authority = Authority::Load(AuthorityFile(state_dir));
  if (authority.status().code() == StatusCode::kNotFound)
    return FailedPrecondition("there is no identity in ", Folder(state_dir),
                              "; run `atelier-master init`, or listen on loopback (master.listen 127.0.0.1:50188)");
  RETURN_IF_ERROR(authority.status());
  StatusOr<Identity> server = LoadIdentity(ServerFile(state_dir));
  if (!server.ok()) return Annotate(server.status(), "`atelier-master init` makes this anew when it is removed");
  if (server->authority != authority->certificate())
    return FailedPrecondition("the file ", ServerFile(state_dir),
                              " is of another authority; remove it and run `atelier-master init`");
  auto security = std::make_unique<Security>(*std::move(authority));
  security->server = *std::move(server);
  ASSIGN_OR_RETURN(security->identities, OpenIdentities(state_dir, config));
  security->http_key_file = HttpKeyFile(state_dir);
  security->worker_seconds = WorkerSeconds(config);
  security->person_seconds = PersonSeconds(config);
  security->gate = std::make_shared<Gate>(&security->authority, security->identities.get());
  return security;
}

StatusOr<std::string> LocalWorkerIdentity(Security& security, const std::string& state_dir, const std::string& worker) {
  const std::string path = Cat(Folder(state_dir), "/worker-", worker, ".pem");
  const int64_t now = std::time(nullptr);
  if (const StatusOr<Identity> kept = LoadIdentity(path); kept.ok()) {
    const StatusOr<IdentityInfo> info = security.authority.Verify(kept->certificate, now);
    if (info.ok() && !info->RenewalDue(now) && info->name == worker && security.identities->Check(info->id).ok())
      return path;
  }
  ASSIGN_OR_RETURN(const IdentityInfo info,
                   security.identities->Add(worker, Role::kWorker, now + security.worker_seconds, true));
  ASSIGN_OR_RETURN(const Identity made, security.authority.Issue(info, security.worker_seconds));
  RETURN_IF_ERROR(SaveIdentity(path, made));
  return path;
}

StatusOr<Identity> LocalOperator(const std::string& state_dir, const ClusterConfig& config) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Security> security, OpenSecurity(state_dir, config));
  ASSIGN_OR_RETURN(const IdentityInfo info, security->identities->Add("atelier-master", Role::kOperator,
                                                                      std::time(nullptr) + kLocalSeconds, false));
  return security->authority.Issue(info, kLocalSeconds);
}

StatusOr<std::string> InitSecurity(const InitOptions& options) {
  const std::string& state = options.state_dir;
  std::error_code error;
  fs::create_directories(state, error);
  if (error) return FailedPrecondition("the state folder ", state, " cannot be made: ", error.message());
  std::string text;
  // The configuration first: what it says decides the rest, and its faults must not leave half of an init.
  ClusterConfig config = DefaultClusterConfig();
  if (fs::exists(options.config_path, error)) {
    ASSIGN_OR_RETURN(config, LoadClusterConfig(options.config_path));
    if (IsLoopback(config.master.listen)) {
      RETURN_IF_ERROR(SetSettingInFile(options.config_path, "master.listen", options.listen));
      text += Cat("master.listen in ", options.config_path, " is now ", options.listen, "\n");
    }
  } else {
    config.master.listen = options.listen;
    config.master.state_dir = state;
    if (const fs::path parent = fs::path(options.config_path).parent_path(); !parent.empty())
      fs::create_directories(parent, error);
    RETURN_IF_ERROR(WriteFileAtomic(options.config_path, DocumentedClusterConfig(config)));
    text += Cat("wrote ", options.config_path, "\n");
  }
  ASSIGN_OR_RETURN(config, LoadClusterConfig(options.config_path));
  const std::string& listen = config.master.listen;

  StatusOr<Authority> authority = Authority::Load(AuthorityFile(state));
  if (authority.status().code() == StatusCode::kNotFound) {
    authority = Authority::Create();
    RETURN_IF_ERROR(authority.status());
    RETURN_IF_ERROR(authority->Save(AuthorityFile(state)));
    text += Cat("made the authority ", AuthorityFile(state), "; keep it secret, and keep a copy\n");
  }
  RETURN_IF_ERROR(authority.status());
  const StatusOr<Identity> server = LoadIdentity(ServerFile(state));
  if (!server.ok() || server->authority != authority->certificate()) {
    ASSIGN_OR_RETURN(const Identity made, authority->IssueServer());
    RETURN_IF_ERROR(SaveIdentity(ServerFile(state), made));
  }
  if (!ReadSecretFile(HttpKeyFile(state)).ok())
    RETURN_IF_ERROR(WriteSecretFile(HttpKeyFile(state), RandomHex(32) + "\n"));
  ASSIGN_OR_RETURN(const std::unique_ptr<IdentityStore> identities, OpenIdentities(state, config));
  const int64_t now = std::time(nullptr);
  ASSIGN_OR_RETURN(const IdentityInfo person,
                   identities->Add(PersonName(), Role::kOperator, now + PersonSeconds(config), true));
  ASSIGN_OR_RETURN(const Identity made, authority->Issue(person, PersonSeconds(config)));
  const std::string port = PortOf(listen), reachable = ReachableAddress(config, listen);
  for (const std::string& address : {"127.0.0.1:" + port, "localhost:" + port, reachable})
    RETURN_IF_ERROR(SaveIdentity(IdentityPath(address), made));
  RETURN_IF_ERROR(GiveToOwner(state));
  text += Cat("you are the operator \"", person.name, "\" of this cluster (", IdentityPath("127.0.0.1:" + port), ")\n");
  text += Cat("fingerprint of the authority: ", authority->fingerprint(), "\n\n");
  text += Cat("start the master:           atelier-master --config ", options.config_path, "\n");
  text += Cat("let another machine join:   atelier-master --config ", options.config_path, " token\n");
  return text;
}

std::string ReachableAddress(const ClusterConfig& config, const std::string& listen) {
  if (!config.master.address.empty()) return config.master.address;
  return IsWildcard(listen) ? Cat(OwnHost(), ":", PortOf(listen)) : listen;
}

StatusOr<std::string> MakeJoinCommand(const std::string& state_dir, const ClusterConfig& config,
                                      const std::string& listen, Role role, int64_t minutes, int64_t uses) {
  if (!UsesTls(config, listen))
    return FailedPrecondition("this master listens on ", listen,
                              ", where nobody needs a token; `atelier-master init` opens it to other machines");
  ASSIGN_OR_RETURN(const std::unique_ptr<Security> security, OpenSecurity(state_dir, config));
  const JoinToken token{security->authority.fingerprint(), RandomHex(20)};
  RETURN_IF_ERROR(
      security->identities->AddToken(HashSecret(token.secret), role, std::time(nullptr) + minutes * 60, uses));
  RETURN_IF_ERROR(GiveToOwner(state_dir));
  const std::string address = ReachableAddress(config, listen);
  return Cat(kTokenVariable, "=", PrintToken(token),
             role == Role::kWorker ? " atelier-worker --master " : " atelier join --master ", address);
}

}  // namespace atelier
