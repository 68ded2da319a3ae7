// A master that shares a PostgreSQL database with others stands by until it is the active one: it answers probes with
// "standby" and every call with where the active master is.
#pragma once

#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <functional>
#include <memory>
#include <string>

#include "common/config/cluster_config.h"
#include "common/obs/probe_server.h"
#include "master/store/job_store.h"
#include "master/store/postgres_database.h"

namespace atelier {

/// What the configuration says about the database; $PGPASSWORD is taken out of the environment. Errors: those of
/// ReadSecretFile (store.password_file). Thread: before any other.
StatusOr<PostgresOptions> PostgresOptionsOf(const ClusterConfig& config, const std::string& holder,
                                            std::function<void(const Status&)> lost);

struct StandbyOptions {
  PostgresOptions database;
  std::string listen;         // HOST:PORT of the calls
  std::string probes_listen;  // HOST:PORT of the probes; "": none
  ProbeGuard probes_guard;
  std::shared_ptr<grpc::ServerCredentials> credentials;  // as the active master's
  /// Told once that it answers, if it has to stand by at all. Called by the caller's thread.
  std::function<void()> stands_by;
};

/// Waits until this master is the active one; then the store of its jobs, with the ports free again. Null: SIGTERM or
/// SIGINT came, both of which must be blocked. A server that is not there, or does not let this master in, is dialled
/// again until it does. Errors: the others of PostgresDatabase::Connect, UNAVAILABLE (a port in use). Thread: any.
StatusOr<std::unique_ptr<JobStore>> StandBy(const StandbyOptions& options);

}  // namespace atelier
