#include "master/gateway/backup.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "atelier/v1/admin.grpc.pb.h"
#include "common/rpc/channel.h"
#include "master/store/blob_store.h"
#include "master/store/files.h"
#include "master/store/identity_store.h"
#include "master/store/job_store.h"

namespace atelier {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBackupMsMax = 600'000;

struct Made {
  uint64_t blobs = 0, bytes = 0;
};

StatusOr<Made> CopyDirectly(JobStore& jobs, const BackupOptions& options) {
  Made made;
  RETURN_IF_ERROR(MakeFolders(options.to));
  ASSIGN_OR_RETURN(made.bytes, jobs.BackupTo(options.to + "/atelier.db"));
  ASSIGN_OR_RETURN(const std::set<std::string> live, jobs.LiveBlobs());
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobStore> blobs, BlobStore::Open(options.state_dir + "/blobs"));
  for (const std::string& hash : live) {
    ASSIGN_OR_RETURN(const uint64_t bytes, blobs->LinkInto(hash, options.to + "/blobs"));
    made.blobs += bytes > 0 ? 1 : 0;
    made.bytes += bytes;
  }
  return made;
}

StatusOr<Made> AskMaster(const BackupOptions& options) {
  const auto stub = v1::AdminService::NewStub(MakeChannel(options.address, 1000, options.identity));
  grpc::ClientContext context;
  SetDeadline(context, kBackupMsMax);
  v1::BackupReply reply;
  const Status asked = FromGrpc(stub->Backup(&context, {}, &reply));
  if (!asked.ok())
    return Annotate(asked, Cat("a master has the state folder ", options.state_dir, " open, and the one at ",
                               options.address, " could not back it up"));
  // The reply's folder is taken only from below the state folder that was named to us.
  const fs::path from(reply.folder());
  std::error_code error;
  if (!fs::equivalent(from.parent_path(), options.state_dir, error) || error)
    return FailedPrecondition("the master at ", options.address, " keeps its state in ", from.parent_path().string(),
                              ", not in ", options.state_dir, "; name its address or its state folder");
  if (const fs::path parent = fs::path(options.to).parent_path(); !parent.empty())
    RETURN_IF_ERROR(MakeFolders(parent.string()));
  fs::rename(from, options.to, error);
  if (error) {  // another file system
    error.clear();
    fs::copy(from, options.to, fs::copy_options::recursive, error);
    std::error_code ignored;
    fs::remove_all(from, ignored);
    if (error) return FileError(error.value(), "copy the backup", options.to);
  }
  return Made{reply.blobs(), reply.bytes()};
}

// The authority's files: a master that starts on the copy is the same to all who joined.
Status CopyAuthority(const BackupOptions& options) {
  const std::string from = options.state_dir + "/authority", to = options.to + "/authority";
  std::error_code error;
  if (!fs::exists(from, error)) return OkStatus();
  for (fs::directory_iterator it(from, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != ".pem" && it->path().extension() != ".key") continue;
    ASSIGN_OR_RETURN(const std::string bytes, ReadSecretFile(it->path().string()));
    RETURN_IF_ERROR(WriteSecretFile(to + "/" + it->path().filename().string(), bytes));
  }
  if (!fs::exists(from + "/identities.db", error)) return OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<IdentityStore> identities, IdentityStore::Open(from + "/identities.db"));
  return identities->BackupTo(to + "/identities.db");
}

}  // namespace

StatusOr<std::string> BackUp(const BackupOptions& options) {
  std::error_code error;
  if (fs::exists(options.to, error))
    return InvalidArgument("there is something at ", options.to, " already; name a folder that is not there");
  if (!fs::exists(options.state_dir + "/atelier.db", error))
    return InvalidArgument("there is no atelier.db in ", options.state_dir,
                           "; name the master's state folder (--state)");
  StatusOr<Made> made = Made{};
  if (auto jobs = JobStore::Open(options.state_dir + "/atelier.db"); jobs.ok())
    made = CopyDirectly(**jobs, options);
  else if (jobs.status().code() == StatusCode::kFailedPrecondition)
    made = AskMaster(options);
  else
    made = jobs.status();
  RETURN_IF_ERROR(made.status());
  RETURN_IF_ERROR(CopyAuthority(options));
  const Fd folder(open(options.to.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || syncfs(folder.get()) != 0) return FileError(errno, "write the backup", options.to);
  return Cat("backed up to ", options.to, ": the jobs and ", made->blobs, " blobs of open jobs, ", made->bytes >> 10,
             " KiB; output files are not part of it");
}

}  // namespace atelier
