// Certificates, tokens, secret files and the list of identities.
#include <sys/stat.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <ctime>
#include <fstream>
#include <thread>
#include <vector>

#include "common/security/authority.h"
#include "master/store/identity_store.h"
#include "tests/harness/postgres.h"
#include "tests/unit/store/temp_folder.h"

namespace atelier {
namespace {

constexpr int64_t kHour = 3600;

IdentityInfo Worker(const std::string& name) { return {name, Role::kWorker, RandomHex(16)}; }

TEST_CASE("a certificate says who it is of, and only its authority's is taken") {
  const int64_t now = std::time(nullptr);
  auto ours = Authority::Create(), other = Authority::Create();
  REQUIRE(ours.ok());
  REQUIRE(other.ok());
  const IdentityInfo asked = Worker("attic-1");
  const auto identity = ours->Issue(asked, kHour);
  REQUIRE(identity.ok());
  const auto read = ours->Verify(identity->certificate, now);
  REQUIRE(read.ok());
  CHECK(read->name == "attic-1");
  CHECK(read->role == Role::kWorker);
  CHECK(read->id == asked.id);
  CHECK(read->ends_unix >= now + kHour - 1);
  CHECK_FALSE(read->RenewalDue(now));
  CHECK(read->RenewalDue(now + kHour / 2));
  const auto refused = [&](const StatusOr<IdentityInfo>& result, const char* why) {
    CHECK(result.status().code() == StatusCode::kUnauthenticated);
    CHECK(Message(result.status()).find(why) != std::string::npos);
  };
  refused(other->Verify(identity->certificate, now), "another authority");
  refused(ours->Verify(identity->certificate, now + kHour + 1), "expired");
  refused(ours->Verify(identity->certificate, now - kHour), "not good yet");
  refused(ours->Verify("-----BEGIN CERTIFICATE-----\n", now), "no certificate");
  // The master's own certificate is no client's, and a worker's is no master's: it stands for kWorkerName.
  const auto server = ours->IssueServer();
  REQUIRE(server.ok());
  refused(ours->Verify(server->certificate, now), "not that of a client");
  CHECK(read->serves);
  const auto person = ours->Issue({"ann", Role::kOperator, RandomHex(16)}, kHour);
  REQUIRE(person.ok());
  CHECK_FALSE(ReadCertificate(person->certificate)->serves);
}

TEST_CASE("of a request only the key counts, and its owner must have it") {
  const auto authority = Authority::Create();
  const auto key = NewKey();
  REQUIRE(key.ok());
  auto request = NewRequest(*key, "someone-else");
  REQUIRE(request.ok());
  const auto certificate = authority->Sign(*request, Worker("w1"), kHour);
  REQUIRE(certificate.ok());
  CHECK(ReadCertificate(*certificate)->name == "w1");
  for (const std::string& bad : {std::string("junk"), std::string(), request->substr(0, request->size() / 2)})
    CHECK(authority->Sign(bad, Worker("w1"), kHour).status().code() == StatusCode::kInvalidArgument);
  // A flipped bit breaks the proof.
  (*request)[request->size() / 2] = (*request)[request->size() / 2] == 'A' ? 'B' : 'A';
  CHECK(authority->Sign(*request, Worker("w1"), kHour).status().code() == StatusCode::kInvalidArgument);
  for (const char* name : {"", "a b", "../x", "n\nm", "über"}) {
    const auto good = NewRequest(*key, "w");
    CHECK(authority->Sign(*good, Worker(name), kHour).status().code() == StatusCode::kInvalidArgument);
  }
}

TEST_CASE("secrets are files of their owner alone, and one that others may read is not taken") {
  const TempFolder folder;
  const std::string path = folder.path() + "/deep/identity.pem";
  const auto authority = Authority::Create();
  auto identity = *authority->Issue(Worker("w1"), kHour);
  identity.token_hash = HashSecret("x");
  REQUIRE(SaveIdentity(path, identity).ok());
  struct stat info {};
  REQUIRE(stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  REQUIRE(stat((folder.path() + "/deep").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0700);
  const auto loaded = LoadIdentity(path);
  REQUIRE(loaded.ok());
  CHECK(loaded->key == identity.key);
  CHECK(loaded->certificate == identity.certificate);
  CHECK(loaded->authority == identity.authority);
  CHECK(loaded->token_hash == identity.token_hash);
  REQUIRE(chmod(path.c_str(), 0640) == 0);
  CHECK(LoadIdentity(path).status().code() == StatusCode::kFailedPrecondition);
  CHECK(LoadIdentity(folder.path() + "/none").status().code() == StatusCode::kNotFound);
  REQUIRE(WriteSecretFile(path, "half of it").ok());
  CHECK(LoadIdentity(path).status().code() == StatusCode::kDataLoss);
  // An authority comes back as it was.
  REQUIRE(authority->Save(path).ok());
  CHECK(Authority::Load(path)->fingerprint() == authority->fingerprint());
}

TEST_CASE("tokens are read exactly, and a wrong one is not repeated") {
  const JoinToken token{std::string(64, 'a'), std::string(40, '7')};
  const auto read = ParseToken(" " + PrintToken(token) + "\r\n");
  REQUIRE(read.ok());
  CHECK(read->fingerprint == token.fingerprint);
  CHECK(read->secret == token.secret);
  for (const std::string& bad :
       {PrintToken(token) + "0", std::string("secret-thing"), std::string(), std::string(".")}) {
    const auto parsed = ParseToken(bad);
    CHECK(parsed.status().code() == StatusCode::kInvalidArgument);
    if (bad.size() > 1) CHECK(Message(parsed.status()).find(bad) == std::string::npos);
  }
}

TEST_CASE("what is loopback") {
  for (const char* yes : {"127.0.0.1:50188", "127.8.9.1:0", "localhost:1", "[::1]:50188"}) CHECK(IsLoopback(yes));
  for (const char* no : {"0.0.0.0:50188", "[::]:1", "10.0.0.1:1", "127.evil.example:1", "host:1", "1270.0.0.1:1"})
    CHECK_FALSE(IsLoopback(no));
}

TEST_CASE("a token is good once, also for those who come at the same instant") {
  const TempFolder folder;
  const int64_t now = std::time(nullptr);
  const bool postgres = GENERATE(false, true);
  if (postgres && test::PostgresServer::Get() == nullptr) {
    WARN("SKIPPED on PostgreSQL: Debian's package postgresql is not installed (deploy/deps --checks)");
    return;
  }
  const std::string url = postgres ? test::PostgresServer::Get()->NewSchema() : "";
  const auto open = [&]() -> StatusOr<std::unique_ptr<IdentityStore>> {
    if (postgres) return IdentityStore::OnPostgres({url, "", ""});
    return IdentityStore::Open(folder.path() + "/identities.db");
  };
  auto store = open();
  REQUIRE(store.ok());
  if (struct stat info{}; !postgres) {
    REQUIRE(stat((folder.path() + "/identities.db").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }
  REQUIRE((*store)->AddToken(HashSecret("one"), Role::kWorker, now + 60).ok());
  const auto use = [&](IdentityStore& from, const char* secret, const std::string& name, int64_t at) {
    return from.UseToken(HashSecret(secret), name, at, kHour, 2 * kHour);
  };
  SECTION("raced by eight, through two openings of the file") {
    auto second = open();
    REQUIRE(second.ok());
    std::atomic<int> got = 0, refused = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&, i] {
        const auto used = use(i % 2 == 0 ? **store : **second, "one", "w" + std::to_string(i), now);
        ++(used.ok() ? got : refused);
      });
    for (std::thread& thread : threads) thread.join();
    CHECK(got == 1);
    CHECK(refused == 7);
  }
  SECTION("in order") {
    CHECK(use(**store, "two", "w1", now).status().code() == StatusCode::kUnauthenticated);
    CHECK(Message(use(**store, "one", "w1", now + 61).status()).find("too old") != std::string::npos);
    const auto joined = use(**store, "one", "w1", now);
    REQUIRE(joined.ok());
    CHECK(joined->role == Role::kWorker);
    CHECK(joined->ends_unix == now + kHour);
    CHECK(Message(use(**store, "one", "w2", now).status()).find("has been used") != std::string::npos);
    CHECK((*store)->Check(joined->id).ok());
    CHECK((*store)->Check(std::string(32, '0')).code() == StatusCode::kUnauthenticated);
    // The name is taken while its certificate is good; the token stays unused.
    REQUIRE((*store)->AddToken(HashSecret("three"), Role::kWorker, now + 60).ok());
    CHECK(use(**store, "three", "w1", now).status().code() == StatusCode::kAlreadyExists);
    CHECK(*(*store)->Revoke("w1") == 1);
    CHECK((*store)->Revoke("w1").status().code() == StatusCode::kNotFound);
    CHECK(Message((*store)->Check(joined->id)).find("revoked") != std::string::npos);
    CHECK((*store)->Renewed(joined->id, now + kHour).code() == StatusCode::kUnauthenticated);
    const auto again = use(**store, "three", "w1", now);
    REQUIRE(again.ok());
    CHECK((*store)->Check(again->id).ok());
    CHECK_FALSE((*store)->Check(joined->id).ok());
  }
  SECTION("whoever is forgotten cannot come back with what is left of its token") {
    REQUIRE((*store)->AddToken(HashSecret("fleet"), Role::kWorker, now + 60, 50).ok());
    REQUIRE(use(**store, "fleet", "w1", now).ok());
    REQUIRE(use(**store, "fleet", "w2", now).ok());
    CHECK(*(*store)->Revoke("w1") == 1);
    CHECK(use(**store, "fleet", "w1", now).status().code() == StatusCode::kUnauthenticated);
    CHECK(use(**store, "fleet", "w3", now).status().code() == StatusCode::kUnauthenticated);
  }
  if (postgres) {
    // The server's end of the connection is gone: the next call but one is answered on another.
    test::PostgresServer::Get()->Sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'atelier-master'");
    CHECK((*store)->AddToken(HashSecret("four"), Role::kViewer, now + 60).code() == StatusCode::kUnavailable);
    CHECK((*store)->AddToken(HashSecret("four"), Role::kViewer, now + 60).ok());
    CHECK(use(**store, "four", "somebody", now).ok());
    return;
  }
  // No secret is in the file, only hashes.
  store->reset();
  std::ifstream file(folder.path() + "/identities.db", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  CHECK(bytes.find(HashSecret("one")) != std::string::npos);
  CHECK(bytes.find("three") == std::string::npos);
}

}  // namespace
}  // namespace atelier
