// From an empty machine to a cluster over TLS with real processes, and back out of it.
#include "common/rpc/join.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

#include <ctime>
#include <set>

#include "atelier/v1/session.grpc.pb.h"
#include "common/rpc/channel.h"
#include "tests/security/https.h"
#include "tests/security/tls_cluster.h"

namespace atelier::test {
namespace {

// Every line of PEM bodies, and other secrets as they are.
std::set<std::string> SecretsOf(const std::string& pem) {
  std::set<std::string> secrets;
  std::istringstream lines(pem);
  for (std::string line; std::getline(lines, line);)
    if (line.size() > 20 && line.find("-----") == std::string::npos && line.find(' ') == std::string::npos)
      secrets.insert(line);
  return secrets;
}

// Which of `secrets` stands in `text`, "" for none; the secret itself is not shown.
std::string Found(const std::string& text, const std::set<std::string>& secrets) {
  for (const std::string& secret : secrets)
    if (text.find(secret) != std::string::npos) return Cat("a secret of ", secret.size(), " characters");
  return text.find("PRIVATE KEY") != std::string::npos ? "PRIVATE KEY" : "";
}

// The command lines of all processes.
std::string ProcessList() {
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator("/proc"))
    if (std::isdigit(static_cast<unsigned char>(entry.path().filename().string()[0])) != 0)
      all += ReadAll(entry.path() / "cmdline") + "\n";
  return all;
}

TEST_CASE("a master outside loopback without an identity does not start, and says what to run") {
  TlsCluster cluster;
  Process& master = cluster.LaunchMaster();
  REQUIRE(master.WaitEnd(30));
  CHECK(master.exit_code() == 1);
  CHECK(master.Log().find("atelier-master init") != std::string::npos);
  CHECK(master.Log().find(Cat("0.0.0.0:", cluster.port())) != std::string::npos);
  // Without an authority there are no tokens either; on loopback none are needed.
  CHECK(cluster.Run({"token"}, 1).find("atelier-master init") != std::string::npos);
  CHECK(cluster.Run({"token", "--listen", "127.0.0.1:1"}, 1).find("nobody needs a token") != std::string::npos);
}

TEST_CASE("init, token, join, a job, forget; and no secret anywhere it should not be") {
  TlsCluster cluster;
  const std::string said = cluster.Run({"init"});
  CHECK(said.find("you are the operator") != std::string::npos);
  struct stat info {};
  for (const char* name : {"/authority.pem", "/server.pem", "/http.key", "/identities.db"}) {
    INFO(name);
    REQUIRE(stat((cluster.authority_dir() + name).c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
  // Again: the authority stays, so that nobody has to join anew.
  const std::string authority = ReadAll(cluster.authority_dir() + "/authority.pem");
  cluster.Run({"init"});
  CHECK(ReadAll(cluster.authority_dir() + "/authority.pem") == authority);
  cluster.StartMaster();

  const std::string first = cluster.Token(), second = cluster.Token();
  Process& one = cluster.StartWorker("w1", first);
  cluster.StartWorker("w2", "", {"--token", second});  // wiped from the process list when it is read
  REQUIRE(cluster.WaitState("w1", "connected"));
  REQUIRE(cluster.WaitState("w2", "connected"));
  REQUIRE(stat(cluster.WorkerIdentity("w1").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  const v1::Job job = cluster.RunJob(ReplicaPrompt(5), 4);
  CHECK(job.state() == "done");
  CHECK(job.outputs_size() == 4);
  const std::string list = ProcessList();
  CHECK(list.find("atelier-worker-fake") != std::string::npos);
  CHECK(list.find("--token") != std::string::npos);
  const std::string environment = ReadAll(Cat("/proc/", one.pid(), "/environ"));
  CHECK(environment.find("ATELIER_IDENTITY_DIR") != std::string::npos);
  CHECK(environment.find(ParseToken(first)->secret) == std::string::npos);

  // The same command line again: the token is done with, the identity is there.
  one.Signal(SIGTERM);
  REQUIRE(one.WaitEnd(20));
  Process& again = cluster.StartWorker("w1", first);
  REQUIRE(again.WaitLog("attached to the master", 30));
  REQUIRE(cluster.WaitState("w1", "connected"));

  // Another machine with a used token, with a taken name, and without anything.
  Process& replay = cluster.StartWorker("w3", first);
  REQUIRE(replay.WaitEnd(30));
  CHECK(replay.exit_code() == 2);
  CHECK(replay.Log().find("has been used") != std::string::npos);
  const std::string worker = BinDir() + "/atelier-worker-fake", thief = cluster.dir() / "thief";
  CHECK(cluster
            .RunProgram({worker, "--master", cluster.address(), "--name", "w2"}, 2,
                        {{"ATELIER_IDENTITY_DIR", thief}, {kTokenVariable, cluster.Token()}})
            .find("a worker named \"w2\" has joined") != std::string::npos);
  CHECK(cluster
            .RunProgram({worker, "--master", Cat("0.0.0.0:", cluster.port()), "--name", "w4"}, 2,
                        {{"ATELIER_IDENTITY_DIR", thief}})
            .find("atelier-master token") != std::string::npos);

  // w2's identity attaches as w2 alone.
  const auto stolen = LoadIdentity(cluster.WorkerIdentity("w2"));
  REQUIRE(stolen.ok());
  {
    const auto stub = v1::WorkerService::NewStub(MakeChannel(cluster.address(), 1000, &*stolen));
    grpc::ClientContext context;
    SetDeadline(context, 10'000);
    const auto stream = stub->Connect(&context);
    v1::FromWorker attach;
    attach.mutable_attach()->set_protocol(kProtocolVersion);
    attach.mutable_attach()->set_name("w1");
    attach.mutable_attach()->set_instance("x");
    stream->Write(attach);
    v1::ToWorker answer;
    CHECK_FALSE(stream->Read(&answer));
    const grpc::Status end = stream->Finish();
    CHECK(end.error_code() == grpc::StatusCode::PERMISSION_DENIED);
    CHECK(end.error_message().find("may not attach as \"w1\"") != std::string::npos);
  }

  // Forgotten: the session ends at once, what it holds is refused from then on.
  const auto begin = std::chrono::steady_clock::now();
  const std::string forgot =
      cluster.RunProgram({BinDir() + "/atelier", "workers", "forget", "w1", "--master", cluster.address()});
  CHECK(forgot.find("forgot w1: 1 identity revoked") != std::string::npos);
  REQUIRE(again.WaitLog("refused this worker's certificate", 10));
  CHECK(again.Log().find("was revoked") != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
  REQUIRE(cluster.WaitState("w1", "offline"));
  CHECK(cluster.client().Forget("w1").status().code() == StatusCode::kNotFound);
  CHECK(cluster.RunJob(ReplicaPrompt(1), 2).state() == "done");  // w2 goes on
  again.Signal(SIGTERM);
  REQUIRE(again.WaitEnd(20));
  // It comes back with a new token only.
  Process& back = cluster.StartWorker("w1", cluster.Token());
  REQUIRE(back.WaitLog("attached to the master", 30));

  // The rest of the roles.
  const std::string viewer_folder = cluster.dir() / "viewer";
  const std::string join =
      cluster.RunProgram({BinDir() + "/atelier", "join", "--master", cluster.address(), "--name", "guest"}, 0,
                         {{"ATELIER_IDENTITY_DIR", viewer_folder}, {kTokenVariable, cluster.Token("viewer")}});
  CHECK(join.find("as viewer \"guest\"") != std::string::npos);
  const auto as_viewer = [&](std::vector<std::string> arguments, int code) {
    arguments.insert(arguments.begin(), BinDir() + "/atelier");
    arguments.insert(arguments.end(), {"--master", cluster.address()});
    return cluster.RunProgram(arguments, code, {{"ATELIER_IDENTITY_DIR", viewer_folder}});
  };
  CHECK(as_viewer({"workers"}, 0).find("w2") != std::string::npos);
  CHECK(as_viewer({"workers", "forget", "w2"}, 2).find("has the role viewer") != std::string::npos);
  CHECK(as_viewer({"cancel", job.id()}, 2).find("CancelJob is for: operator") != std::string::npos);
  CHECK(cluster
            .RunProgram({BinDir() + "/atelier", "workers", "--master", Cat("0.0.0.0:", cluster.port())}, 2,
                        {{"ATELIER_IDENTITY_DIR", cluster.dir() / "nobody"}})
            .find("there is no identity for the master") != std::string::npos);

  // A copy of the state takes the authority along.
  const std::string copy = cluster.dir() / "copy";
  CHECK(cluster.Run({"backup", copy}).find("backed up to") != std::string::npos);
  CHECK(ReadAll(copy + "/authority/authority.pem") == authority);
  const auto kept = IdentityStore::Open(copy + "/authority/identities.db");
  REQUIRE(kept.ok());
  CHECK((*kept)->Check(ReadCertificate(stolen->certificate)->id).ok());

  // Logs, what commands printed, outputs, figures and the process list have none of the secrets.
  std::set<std::string> secrets = SecretsOf(authority);
  for (const std::string& file :
       {cluster.authority_dir() + "/server.pem", cluster.WorkerIdentity("w1"), cluster.WorkerIdentity("w2"),
        IdentityPath(cluster.address()), cluster.authority_dir() + "/http.key"})
    secrets.merge(SecretsOf(ReadAll(file)));
  secrets.insert(ParseToken(first)->secret);
  secrets.insert(ParseToken(second)->secret);
  REQUIRE(secrets.size() > 30);
  CHECK(Found(list + ProcessList(), secrets).empty());
  CHECK(Found("x" + *secrets.begin(), secrets) != "");
  std::string key = ReadAll(cluster.authority_dir() + "/http.key");
  key.pop_back();
  const std::string page = AskTls(cluster.http_port(), Cat("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n",
                                                           "Authorization: Bearer ", key, "\r\n\r\n"));
  CHECK(page.find("atelier_build_info") != std::string::npos);
  CHECK(Found(page, secrets).empty());
  int files = 0, pictures = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cluster.dir().path())) {
    const std::string path = entry.path();
    // Not where they belong: identities, and the one line that `token` prints.
    if (!entry.is_regular_file() || path.ends_with(".pem") || path.ends_with(".key")) continue;
    const std::string text = ReadAll(path);
    if (text.find(std::string(kTokenVariable) + "=") != std::string::npos) continue;
    INFO(path);
    CHECK(Found(text, secrets).empty());
    ++files;
    pictures += path.ends_with(".png") ? 1 : 0;
  }
  CHECK(files > 20);
  CHECK(pictures >= 6);
  const auto logs = cluster.client().Logs("", 1000);
  REQUIRE(logs.ok());
  CHECK(logs->lines_size() > 5);
  for (const std::string& line : logs->lines()) CHECK(Found(line, secrets).empty());
}

TEST_CASE("certificates renew themselves, and the work goes on") {
  // 12 s of life, renewed after 6.
  TlsCluster cluster("security: {worker_hours: 0.0033334}\n");
  cluster.Start();
  Process& worker = cluster.StartWorker("w1", cluster.Token());
  REQUIRE(cluster.WaitState("w1", "connected"));
  const auto before = ReadCertificate(LoadIdentity(cluster.WorkerIdentity("w1"))->certificate);
  REQUIRE(before.ok());
  // Longer than the first certificate is good.
  const v1::Job job = cluster.RunJob(ReplicaPrompt(1500, 2), 9);
  CHECK(job.state() == "done");
  REQUIRE(Until(
      [&] {
        const auto now = ReadCertificate(LoadIdentity(cluster.WorkerIdentity("w1"))->certificate);
        return now.ok() && now->begins_unix >= before->ends_unix;
      },
      60));
  const auto after = ReadCertificate(LoadIdentity(cluster.WorkerIdentity("w1"))->certificate);
  CHECK(after->id == before->id);
  CHECK(after->name == "w1");
  CHECK(cluster.WaitState("w1", "connected"));
  CHECK(worker.Log().find("the certificate was renewed") != std::string::npos);
  CHECK(cluster.RunJob(ReplicaPrompt(1), 2).state() == "done");
  // A worker that sleeps longer than its certificate lives has to join again; its name is free for that.
  worker.Signal(SIGTERM);
  REQUIRE(worker.WaitEnd(20));
  const auto ends = ReadCertificate(LoadIdentity(cluster.WorkerIdentity("w1"))->certificate)->ends_unix;
  REQUIRE(Until([&] { return std::time(nullptr) > ends + 2; }, 30));
  Process& late = cluster.StartWorker("w1");
  REQUIRE(late.WaitEnd(30));
  CHECK(late.Log().find("has expired") != std::string::npos);
  cluster.StartWorker("w1", cluster.Token());
  CHECK(cluster.WaitState("w1", "connected"));
}

TEST_CASE("workers that the master starts itself have identities of their own") {
  TlsCluster cluster("", {"--local-workers", "2", "--device", "cpu"});
  cluster.Start();
  REQUIRE(cluster.WaitState("local-1", "connected"));
  REQUIRE(cluster.WaitState("local-2", "connected"));
  CHECK(cluster.RunJob(ReplicaPrompt(1), 3).state() == "done");
  struct stat info {};
  REQUIRE(stat((cluster.authority_dir() + "/worker-local-1.pem").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  // A restart takes the same ones.
  const std::string before = ReadAll(cluster.authority_dir() + "/worker-local-1.pem");
  cluster.master().Signal(SIGTERM);
  REQUIRE(cluster.master().WaitEnd(40));
  cluster.StartMaster();
  REQUIRE(cluster.WaitState("local-1", "connected"));
  CHECK(ReadAll(cluster.authority_dir() + "/worker-local-1.pem") == before);
}

TEST_CASE("a join trusts the fingerprint of its token alone") {
  TlsCluster cluster;
  cluster.Start();
  const auto token = ParseToken(cluster.Token());
  REQUIRE(token.ok());
  JoinToken other = *token;
  other.fingerprint = RandomHex(32);
  const auto refused = Join(cluster.address(), other, "w1");
  CHECK(refused.status().code() == StatusCode::kFailedPrecondition);
  CHECK(Message(refused.status()).find("another fingerprint") != std::string::npos);
  // The secret was not sent: it is still good.
  const auto joined = Join(cluster.address(), *token, "w1");
  INFO(Message(joined.status()));
  REQUIRE(joined.ok());
  // A worker's identity cannot stand for a master: its certificate is not for servers.
  const Identity fake{joined->key, joined->certificate, joined->authority, ""};
  grpc::SslServerCredentialsOptions options(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_key_cert_pairs.push_back({fake.key, fake.certificate + fake.authority});
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(options), &port);
  v1::WorkerService::Service service;
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  REQUIRE(port > 0);
  JoinToken to_fake = *token;
  CHECK(Join(Cat("127.0.0.1:", port), to_fake, "w2").status().code() == StatusCode::kUnavailable);
  server->Shutdown();
  // Nobody there.
  CHECK(Join(Cat("127.0.0.1:", FreePort()), *token, "w2").status().code() == StatusCode::kUnavailable);
}

}  // namespace
}  // namespace atelier::test
