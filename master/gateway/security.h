// What `atelier-master init`, `token` and a starting master do with the authority's files in STATE/authority.
#pragma once

#include <memory>
#include <string>

#include "common/config/cluster_config.h"
#include "master/gateway/identity_service.h"

namespace atelier {

/// Whether a master of this configuration that listens on `listen` speaks TLS. Thread: any.
bool UsesTls(const ClusterConfig& config, const std::string& listen);

/// The files of `atelier-master init`. Errors: FAILED_PRECONDITION when there are none, or one is unreadable; the text
/// says to run init. Thread: any.
StatusOr<std::unique_ptr<Security>> OpenSecurity(const std::string& state_dir, const ClusterConfig& config);

/// The file with the identity of a worker that this master starts itself, made or made anew where it is missing or half
/// of its life is over. Errors: those of the store and of writing. Thread: any.
StatusOr<std::string> LocalWorkerIdentity(Security& security, const std::string& state_dir, const std::string& worker);

/// An operator's identity for ten minutes: for commands on the master's machine that may read its files anyway. Thread:
/// any.
StatusOr<Identity> LocalOperator(const std::string& state_dir, const ClusterConfig& config);

struct InitOptions {
  std::string state_dir;
  std::string config_path;
  std::string listen;  // what the configuration is to say when it says loopback
};
/// Makes authority, server certificate, key of the HTTP listener and an operator's identity for who runs it, and a
/// configuration that listens on `listen`; what is there already stays. What it did and what to do next, for people.
/// Errors: FAILED_PRECONDITION (files), INVALID_ARGUMENT (the configuration has faults). Thread: any.
StatusOr<std::string> InitSecurity(const InitOptions& options);

/// Where others reach a master that listens on `listen`: master.address, else its host, else the first address of this
/// machine that is not loopback. Thread: any.
std::string ReachableAddress(const ClusterConfig& config, const std::string& listen);

/// Makes a token that is good for `uses` joins, and the command that joins with it, one line. Errors:
/// FAILED_PRECONDITION (no init was run), those of the store. Thread: any.
StatusOr<std::string> MakeJoinCommand(const std::string& state_dir, const ClusterConfig& config,
                                      const std::string& listen, Role role, int64_t minutes, int64_t uses);

}  // namespace atelier
