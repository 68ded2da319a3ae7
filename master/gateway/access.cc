#include "master/gateway/access.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <ctime>
#include <set>
#include <sstream>

#include "atelier/v1/admin.pb.h"
#include "atelier/v1/blobs.pb.h"
#include "atelier/v1/identity.pb.h"
#include "atelier/v1/models.pb.h"
#include "atelier/v1/session.pb.h"
#include "common/rpc/channel.h"

namespace atelier {
namespace {

constexpr double kBurstSeconds = 2;        // of calls that may come at once
constexpr size_t kAllowancesMax = 10'000;  // identities whose calls are counted; beyond, all start anew

constexpr unsigned kPeople = kOperators | kViewers;
constexpr unsigned kAllRoles = kPeople | kWorkers;
constexpr AccessRule kRules[] = {
    {"/atelier.v1.AdminService/Submit", kOperators},
    {"/atelier.v1.AdminService/Watch", kPeople},
    {"/atelier.v1.AdminService/ListJobs", kPeople},
    {"/atelier.v1.AdminService/GetJob", kPeople},
    {"/atelier.v1.AdminService/CancelJob", kOperators},
    {"/atelier.v1.AdminService/ListWorkers", kPeople},
    {"/atelier.v1.AdminService/ControlWorker", kOperators},
    {"/atelier.v1.AdminService/GetCatalog", kPeople},
    {"/atelier.v1.AdminService/GetInventory", kPeople},
    {"/atelier.v1.AdminService/Logs", kPeople},
    {"/atelier.v1.AdminService/Explain", kPeople},
    {"/atelier.v1.AdminService/GetServer", kPeople},
    {"/atelier.v1.AdminService/Shutdown", kOperators},
    {"/atelier.v1.AdminService/Backup", kOperators},
    {"/atelier.v1.AdminService/ListModels", kPeople},
    {"/atelier.v1.AdminService/OrderModel", kOperators},
    {"/atelier.v1.AdminService/PushModel", kOperators},
    {"/atelier.v1.AdminService/PushChunk", kOperators},
    {"/atelier.v1.BlobService/Get", kWorkers},
    {"/atelier.v1.BlobService/Put", kWorkers | kOperators},  // operators: inputs of a job
    {"/atelier.v1.BlobService/Have", kWorkers | kOperators},
    {"/atelier.v1.ModelService/GetManifest", kWorkers},
    {"/atelier.v1.ModelService/NextChunk", kWorkers},
    {"/atelier.v1.ModelService/GetChunk", kWorkers},
    {"/atelier.v1.ModelService/GivePart", kWorkers},
    {"/atelier.v1.PeerService/GetChunk", 0},  // workers serve it to one another; a master to nobody
    {"/atelier.v1.WorkerService/Connect", kWorkers},
    {"/atelier.v1.IdentityService/Join", kAnyone | kAllRoles},
    {"/atelier.v1.IdentityService/Renew", kAllRoles},
    {"/atelier.v1.IdentityService/Forget", kOperators},
    {"/grpc.health.v1.Health/Check", kAllRoles},
    {"/grpc.health.v1.Health/Watch", kAllRoles},
};

unsigned BitOf(Role role) {
  switch (role) {
    case Role::kWorker:
      return kWorkers;
    case Role::kOperator:
      return kOperators;
    case Role::kViewer:
      return kViewers;
  }
  return 0;
}

std::string WhoMay(unsigned who) {
  std::string text;
  for (const Role role : {Role::kWorker, Role::kOperator, Role::kViewer})
    if ((who & BitOf(role)) != 0) text += (text.empty() ? "" : ", ") + std::string(RoleName(role));
  return text;
}

}  // namespace

std::span<const AccessRule> AccessRules() { return kRules; }

std::vector<std::string> ServedMethods() {
  std::vector<std::string> methods{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"};
  std::istringstream names(ATELIER_PROTO_FILES);  // of proto/CMakeLists.txt: all that are generated
  for (std::string name; std::getline(names, name, ',');) {
    const auto* file =
        google::protobuf::DescriptorPool::generated_pool()->FindFileByName("atelier/v1/" + name + ".proto");
    if (file == nullptr) {  // a file that nothing of this program includes is still a service that may be forgotten
      methods.push_back("(atelier/v1/" + name + ".proto is not linked)");
      continue;
    }
    for (int s = 0; s < file->service_count(); ++s)
      for (int m = 0; m < file->service(s)->method_count(); ++m)
        methods.push_back(Cat("/", file->service(s)->full_name(), "/", file->service(s)->method(m)->name()));
  }
  return methods;
}

Status CheckAccessRules() {
  std::set<std::string> served;
  for (std::string& method : ServedMethods()) served.insert(std::move(method));
  std::string faults;
  for (const AccessRule& rule : kRules)
    if (served.erase(std::string(rule.method)) == 0)
      faults += Cat(" ", rule.method, " (is not served, or stands twice)");
  for (const std::string& method : served) faults += Cat(" ", method, " (has no rule)");
  if (!faults.empty()) return Internal("the table of who may call what (master/gateway/access.cc) is wrong:", faults);
  return OkStatus();
}

StatusOr<IdentityInfo> Gate::Identify(const grpc::AuthContext& peer) const {
  const std::vector<grpc::string_ref> shown = peer.FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (shown.empty())
    return MakeStatus(StatusCode::kUnauthenticated,
                      "this master asks for a certificate; join with a token (`atelier-master token`)");
  ASSIGN_OR_RETURN(IdentityInfo info, authority_->Verify({shown[0].data(), shown[0].size()}, std::time(nullptr)));
  RETURN_IF_ERROR(identities_->Check(info.id));
  return info;
}

Status Gate::Allow(const grpc::AuthContext& peer, std::string_view method) const {
  const auto* rule = std::find_if(std::begin(kRules), std::end(kRules),
                                  [&](const AccessRule& candidate) { return candidate.method == method; });
  const unsigned who = rule == std::end(kRules) ? 0 : rule->who;
  if ((who & kAnyone) != 0) return OkStatus();
  ASSIGN_OR_RETURN(const IdentityInfo info, Identify(peer));
  RETURN_IF_ERROR(Count(info));
  if ((who & BitOf(info.role)) != 0) return OkStatus();
  const std::string_view name = method.substr(method.rfind('/') + 1).substr(0, 64);
  if (who == 0) return MakeStatus(StatusCode::kPermissionDenied, "nobody may call \"", name, "\" here");
  return MakeStatus(StatusCode::kPermissionDenied, "\"", info.name, "\" has the role ", RoleName(info.role), "; ", name,
                    " is for: ", WhoMay(who));
}

Status Gate::Count(const IdentityInfo& who) const {
  if (!calls_per_second_) return OkStatus();
  const auto limit = static_cast<double>(calls_per_second_());
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (allowances_.size() >= kAllowancesMax) allowances_.clear();
  const auto [at, fresh] = allowances_.try_emplace(who.id, Allowance{limit * kBurstSeconds, now});
  Allowance& own = at->second;
  own.calls =
      std::min(limit * kBurstSeconds, own.calls + limit * std::chrono::duration<double>(now - own.as_of).count());
  own.as_of = now;
  if (own.calls < 1)
    return ResourceExhausted("\"", who.name, "\" makes more than ", limit,
                             " calls a second (limits.identity_calls_per_second); try again in a second");
  own.calls -= 1;
  return OkStatus();
}

Status Gate::Admit(const grpc::AuthContext& peer, const std::string& worker) const {
  ASSIGN_OR_RETURN(const IdentityInfo info, Identify(peer));
  if (info.role == Role::kWorker && info.name == worker) return OkStatus();
  return MakeStatus(StatusCode::kPermissionDenied, "this certificate is that of ", RoleName(info.role), " \"",
                    info.name, "\", which may not attach as \"", worker.substr(0, 80), "\"; start it with --name ",
                    info.name);
}

grpc::Status Gate::Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata*, OutputMetadata*) {
  const auto path = metadata.find(":path");
  const std::string_view method =
      path == metadata.end() ? std::string_view() : std::string_view(path->second.data(), path->second.size());
  return ToGrpc(Allow(*peer, method));
}

}  // namespace atelier
