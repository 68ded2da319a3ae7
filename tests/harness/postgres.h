// A real PostgreSQL server for one test program: Debian's binaries on a folder in memory and a unix socket in it, as a
// user without rights, gone with the program.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status.h"

namespace atelier::test {

/// How long a takeover may take: five seconds where a processor is to be had; on a machine with many times as much to
/// do as it can, its scheduler takes the rest. Thread: any.
inline double TakeoverSecondsMax() {
  double load = 0;
  const bool busy = getloadavg(&load, 1) == 1 && load > 4.0 * std::thread::hardware_concurrency();
  return busy ? 20 : 5;
}

/// Thread: any. Throws std::runtime_error when the server does not come up.
class PostgresServer {
 public:
  /// The server of this program, started at the first call; null where Debian's package postgresql is not installed.
  static PostgresServer* Get() {
    static const std::unique_ptr<PostgresServer> server =
        Binaries().empty() ? nullptr : std::unique_ptr<PostgresServer>(new PostgresServer(Binaries()));
    return server.get();
  }
  ~PostgresServer() {
    if (getpid() != owner_) return;  // a child of a test ends
    kill(pid_, SIGCONT);
    kill(pid_, SIGQUIT);
    waitpid(pid_, nullptr, 0);
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;

  /// A connection string of a fresh schema, which no other test sees.
  std::string NewSchema() {
    const std::string name = "t" + std::to_string(next_.fetch_add(1));
    Sql("CREATE SCHEMA " + name);
    return Url(name);
  }
  std::string Url(const std::string& schema) const {
    return "postgresql:///postgres?host=" + folder_ + "&user=atelier&options=-csearch_path%3D" + schema;
  }
  /// Runs it on a connection of its own; the first column of the first row.
  std::string Sql(const std::string& sql, const std::string& url = "") const {
    PGconn* connection = PQconnectdb((url.empty() ? Url("public") : url).c_str());
    PGresult* result = PQexec(connection, sql.c_str());
    const ExecStatusType status = PQresultStatus(result);
    const std::string value = status == PGRES_TUPLES_OK && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    const std::string error = PQerrorMessage(connection);
    PQclear(result);
    PQfinish(connection);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) throw std::runtime_error(error);
    return value;
  }
  const std::string& folder() const { return folder_; }

 private:
  static std::string Binaries() {
    std::error_code error;
    for (std::filesystem::directory_iterator it("/usr/lib/postgresql", error), end; !error && it != end; ++it)
      if (std::filesystem::exists(it->path() / "bin/initdb", error)) return (it->path() / "bin").string();
    return "";
  }
  // Neither program runs as root.
  static pid_t Start(const std::vector<std::string>& arguments, const std::string& folder) {
    const pid_t child = fork();
    if (child != 0) return child;
    constexpr uid_t kNobody = 65534;
    if (geteuid() == 0 && (setgroups(0, nullptr) != 0 || setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (chdir(folder.c_str()) != 0) _exit(126);
    const int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(126);
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  explicit PostgresServer(const std::string& binaries)
      : owner_(getpid()), folder_(Cat(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", "/atelier-pg-XXXXXX")) {
    if (mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no folder for PostgreSQL");
    if (geteuid() == 0 && chown(folder_.c_str(), 65534, 65534) != 0) throw std::runtime_error("chown " + folder_);
    const std::string data = folder_ + "/data";
    int status = 0;
    const pid_t made = Start({binaries + "/initdb", "-D", data, "-U", "atelier", "-A", "trust", "--no-sync",
                              "--locale=C", "--encoding=UTF8"},
                             folder_);
    if (waitpid(made, &status, 0) != made || status != 0) throw std::runtime_error("initdb failed; see " + folder_);
    pid_ = Start({binaries + "/postgres", "-D", data, "-k", folder_, "-c", "listen_addresses=", "-c", "fsync=off", "-c",
                  "max_connections=60"},
                 folder_);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (PQping(Url("public").c_str()) != PQPING_OK) {
      if (std::chrono::steady_clock::now() > end || waitpid(pid_, nullptr, WNOHANG) != 0)
        throw std::runtime_error("PostgreSQL did not start; see " + folder_);
      poll(nullptr, 0, 50);
    }
  }

  const pid_t owner_;
  std::string folder_;
  pid_t pid_ = -1;
  std::atomic<int> next_{0};
};

}  // namespace atelier::test
