// Who gets chunks from a worker that serves other machines: workers of the same authority, with the master's ticket.
#include "worker/share/peer_server.h"

#include <catch2/catch.hpp>
#include <ctime>
#include <optional>

#include "atelier/v1/models.grpc.pb.h"
#include "common/rpc/channel.h"
#include "common/security/authority.h"
#include "common/security/peer_ticket.h"

namespace atelier {
namespace {

constexpr int64_t kHour = 3600;
const std::string kKey = "the giver's key";
const std::string kHash(64, 'a');

Authority NewAuthority() {
  auto made = Authority::Create();
  REQUIRE(made.ok());
  return std::move(*made);
}

Identity Issued(const Authority& authority, const std::string& name, Role role = Role::kWorker,
                int64_t seconds = kHour) {
  const auto identity = authority.Issue({name, role, RandomHex(16)}, seconds);
  REQUIRE(identity.ok());
  return *identity;
}

// Asks for chunk 3 of kHash; its bytes or why not.
StatusOr<std::string> Ask(const std::string& address, const Identity* identity, const std::string& key,
                          const char* server = kWorkerName, uint32_t index = 3) {
  const auto stub = v1::PeerService::NewStub(MakeChannel(address, 1000, identity, server));
  grpc::ClientContext context;
  SetDeadline(context, 10'000);
  v1::ChunkRequest request;
  request.set_hash(kHash);
  request.set_index(index);
  request.set_key(key);
  const auto reader = stub->GetChunk(&context, request);
  std::string bytes;
  for (v1::ChunkPiece piece; reader->Read(&piece);) bytes += piece.data();
  const Status end = FromGrpc(reader->Finish());
  if (!end.ok()) return end;
  return bytes;
}

TEST_CASE("workers of two machines: only a worker of the authority with the master's ticket gets a chunk") {
  const Authority ours = NewAuthority(), other = NewAuthority();
  const Identity giver = Issued(ours, "giver"), taker = Issued(ours, "taker");
  Throttle throttle(0);
  const auto server = PeerServer::Start(
      "127.0.0.1:0", kKey, &giver, [](const std::string&, uint32_t) { return StatusOr<std::string>("bytes"); },
      &throttle);
  INFO(Message(server.status()));
  REQUIRE(server.ok());
  const std::string& at = (*server)->address();
  const int64_t now = std::time(nullptr);
  const std::string ticket = MakePeerTicket(kKey, "taker", kHash, 3, now + 60);

  const auto given = Ask(at, &taker, ticket);
  INFO(Message(given.status()));
  REQUIRE(given.ok());
  CHECK(*given == "bytes");
  CHECK((*server)->sent() == 5);

  struct Stranger {
    const char* what;
    std::optional<Identity> identity;
    std::string key;
    StatusCode code;
    uint32_t index = 3;
    const char* server = kWorkerName;
  };
  Identity foreign = Issued(other, "taker");
  foreign.authority = ours.certificate();
  const Identity nobody{"", "", ours.certificate(), ""};
  const std::vector<Stranger> strangers = {
      {"without TLS", std::nullopt, ticket, StatusCode::kUnavailable},
      {"no identity", nobody, ticket, StatusCode::kUnavailable},
      {"another authority", foreign, ticket, StatusCode::kUnavailable},
      {"expired", Issued(ours, "taker", Role::kWorker, -60), ticket, StatusCode::kUnavailable},
      {"an operator", Issued(ours, "taker", Role::kOperator), ticket, StatusCode::kPermissionDenied},
      {"a viewer", Issued(ours, "taker", Role::kViewer), ticket, StatusCode::kPermissionDenied},
      {"no ticket", taker, "", StatusCode::kPermissionDenied},
      {"the key itself", taker, kKey, StatusCode::kPermissionDenied},
      {"another's ticket", Issued(ours, "second"), ticket, StatusCode::kPermissionDenied},
      {"a ticket for another chunk", taker, ticket, StatusCode::kPermissionDenied, 4},
      {"a ticket of old", taker, MakePeerTicket(kKey, "taker", kHash, 3, now - 1), StatusCode::kPermissionDenied},
      {"a ticket with a later end", taker, std::to_string(now + 600) + ticket.substr(ticket.find('.')),
       StatusCode::kPermissionDenied},
      {"a ticket of another key", taker, MakePeerTicket("guess", "taker", kHash, 3, now + 60),
       StatusCode::kPermissionDenied},
      {"who takes it for a master", taker, ticket, StatusCode::kUnavailable, 3, kMasterName},
  };
  for (const Stranger& stranger : strangers) {
    const auto refused =
        Ask(at, stranger.identity ? &*stranger.identity : nullptr, stranger.key, stranger.server, stranger.index);
    INFO(stranger.what << ": " << Message(refused.status()));
    CHECK(refused.status().code() == stranger.code);
  }
  CHECK((*server)->sent() == 5);
}

TEST_CASE("where a worker may serve others") {
  const Authority ours = NewAuthority();
  const Identity worker = Issued(ours, "w"), person = Issued(ours, "p", Role::kViewer);
  Throttle throttle(0);
  const auto start = [&](const std::string& listen, const Identity* identity) {
    return PeerServer::Start(
               listen, kKey, identity, [](const std::string&, uint32_t) { return StatusOr<std::string>(""); },
               &throttle)
        .status();
  };
  CHECK(start("192.0.2.1:0", nullptr).code() == StatusCode::kInvalidArgument);     // no identity outside loopback
  CHECK(start("0.0.0.0:0", &worker).code() == StatusCode::kInvalidArgument);       // nobody can dial it
  CHECK(start("192.0.2.1:0", &worker).code() == StatusCode::kUnavailable);         // not an address of this machine
  CHECK(start("127.0.0.1:0", &person).code() == StatusCode::kFailedPrecondition);  // its certificate may not serve
  CHECK(start("127.0.0.1:0", nullptr).ok());
}

}  // namespace
}  // namespace atelier
