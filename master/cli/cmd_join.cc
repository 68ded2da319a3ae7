// atelier join: this user's identity for a master.
#include <limits.h>
#include <unistd.h>

#include <cstdlib>

#include "common/rpc/join.h"
#include "master/cli/commands.h"

namespace atelier::cli {
namespace {

std::string DefaultName() {
  char host[HOST_NAME_MAX + 1] = "machine";
  gethostname(host, sizeof host - 1);
  const char* user = std::getenv("USER");
  std::string name = Cat(user == nullptr || *user == '\0' ? "user" : user, ".", host).substr(0, 64);
  for (char& c : name)
    if (!IsIdentityName(std::string_view(&c, 1))) c = '_';
  return name;
}

Status JoinMaster(const CommandLine& line, Surroundings& io) {
  ASSIGN_OR_RETURN(const std::string text, TakeToken("", line.token_file));
  if (text.empty())
    return InvalidArgument(
        "no token: run the command that `atelier-master token --role operator` prints, or name a file "
        "with --token-file");
  ASSIGN_OR_RETURN(const JoinToken token, ParseToken(text));
  const std::string name = line.name.empty() ? DefaultName() : line.name;
  ASSIGN_OR_RETURN(const Identity identity, Join(line.master, token, name));
  std::string path;  // the same for each of several masters
  for (const std::string& address : SplitAddresses(line.master)) {
    path = IdentityPath(address);
    RETURN_IF_ERROR(SaveIdentity(path, identity));
  }
  ASSIGN_OR_RETURN(const IdentityInfo info, ReadCertificate(identity.certificate));
  io.out << "joined " << line.master << " as " << RoleName(info.role) << " \"" << info.name << "\" (" << path
         << "); name it with --master " << line.master << " or export ATELIER_MASTER_ADDRESS=" << line.master << "\n";
  return OkStatus();
}

}  // namespace

int JoinCluster(const CommandLine& line, Surroundings& io) {
  const Status status = JoinMaster(line, io);
  return status.ok() ? kExitDone : Complain(status, io);
}

}  // namespace atelier::cli
