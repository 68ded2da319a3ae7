// What distributing one tile of 512 pixels costs beside its sampling, part by part, over loopback to a real master; and
// what its predecessor's way of sending one costs: PNG, base64, JSON, one HTTP request (spec distributed.md 1.2, 3.13).
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <map>
#include <thread>

#include "common/base/hash.h"
#include "common/image/codec.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/channel.h"
#include "common/tensorio/packed_blob.h"
#include "common/tensorio/safetensors.h"
#include "master/collect/canvas.h"
#include "master/store/blob_store.h"
#include "tests/bench/bench.h"
#include "tests/harness/cluster.h"

namespace atelier::test {
namespace {

constexpr int kWidth = 3840, kHeight = 2160;
constexpr int kRounds = 20;

// Waves with a little grain, as a photograph has.
Canvas Picture(uint32_t seed) {
  std::string pixels(size_t{kWidth} * kHeight * 3, '\0');
  for (size_t i = 0; i < pixels.size(); ++i) {
    const size_t row = i / 3 / kWidth;
    const auto x = static_cast<double>(i / 3 % kWidth), y = static_cast<double>(row);
    seed = seed * 1664525 + 1013904223;
    pixels[i] = static_cast<char>(128 + 60 * std::sin(x / 90 + static_cast<double>(i % 3)) + 50 * std::cos(y / 70) +
                                  static_cast<double>(seed >> 29));
  }
  const auto canvas = Canvas::FromBlob(
      SafetensorsHead({{"image", DType::kU8, {1, kHeight, kWidth, 3}, {}}}, {{"atelier_type", "IMAGE"}}) + pixels);
  REQUIRE(canvas.ok());
  return *canvas;
}

std::string Base64(std::string_view bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k > bytes.size() ? '=' : kDigits[word >> (18 - 6 * k) & 63];
  }
  return out;
}

std::string FromBase64(std::string_view text) {
  std::string out;
  uint32_t word = 0;
  int bits = 0;
  for (const char c : text) {
    const int digit = c >= 'a'               ? c - 'a' + 26
                      : c >= 'A'             ? c - 'A'
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (digit < 0) break;
    word = word << 6 | static_cast<uint32_t>(digit);
    if ((bits += 6) >= 8) out += static_cast<char>(word >> (bits -= 8));
  }
  return out;
}

// A socket that closes itself.
struct Socket {
  explicit Socket(int opened) : fd(opened) { REQUIRE(fd >= 0); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(fd); }
  int fd;
};

void SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

// A whole HTTP message with Content-Length; its body.
std::string ReceiveBody(int fd) {
  std::string all;
  char part[1 << 16];
  size_t want = std::string::npos;
  while (all.size() < want) {
    const ssize_t got = recv(fd, part, sizeof part, 0);
    if (got <= 0) return "";
    all.append(part, static_cast<size_t>(got));
    const size_t head = want == std::string::npos ? all.find("\r\n\r\n") : std::string::npos;
    if (head != std::string::npos) want = head + 4 + std::stoul(all.substr(all.find("Content-Length: ") + 16));
  }
  return all.substr(all.find("\r\n\r\n") + 4);
}

// Milliseconds of one tile's way to the master as the predecessor sends it, until it is pasted.
double PredecessorMs(const TilePlan& plan, const Tile& tile, const ImageU8& redrawn, Canvas& canvas) {
  const Socket listening(socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(listening.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  socklen_t size = sizeof address;
  REQUIRE(getsockname(listening.fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  REQUIRE(listen(listening.fd, 1) == 0);
  bool pasted = false;
  std::thread server([&] {
    const int fd = accept(listening.fd, nullptr, nullptr);
    const StatusOr<Json> json = ParseJson(ReceiveBody(fd));
    if (json.ok()) {
      const std::string text = json->at("image").get<std::string>();
      const auto picture = DecodeImage(FromBase64(std::string_view(text).substr(text.find(',') + 1)));
      std::vector<ImageU8> images = canvas.images();  // the predecessor blends on a copy of the frame
      pasted = picture.ok() && BlendTile(plan, tile, picture->rgb, &images[0]).ok();
    }
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    close(fd);
  });
  const auto begin = bench::Clock::now();
  const StatusOr<std::string> png = EncodePng(redrawn, 0);
  const std::string body = DumpJson({{"job_id", "1"},
                                     {"batch_idx", 0},
                                     {"is_last", false},
                                     {"image", "data:image/png;base64," + (png.ok() ? Base64(*png) : "")}});
  const Socket client(socket(AF_INET, SOCK_STREAM, 0));
  const bool connected = connect(client.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (connected) {
    SendAll(client.fd, Cat("POST /distributed/job_complete HTTP/1.1\r\nContent-Type: application/json\r\n",
                           "Content-Length: ", body.size(), "\r\n\r\n"));
    SendAll(client.fd, body);
    ReceiveBody(client.fd);
  } else {
    shutdown(listening.fd, SHUT_RDWR);
  }
  server.join();
  const double ms = 1000 * bench::Since(begin);
  REQUIRE(connected);
  REQUIRE(pasted);
  return ms;
}

struct Overhead {
  double ms = 0, predecessor_ms = 0;
  std::string parts;
};

// Of one tile, median of kRounds, with the master's state and its store in `folder`.
Overhead Measure(const std::string& folder) {
  REQUIRE(setenv("TMPDIR", folder.c_str(), 1) == 0);
  Canvas canvas = Picture(1);
  TileSettings settings;  // 512 pixels, padding 32
  const auto plan = MakeTilePlan(kWidth, kHeight, settings);
  REQUIRE(plan.ok());
  const Cluster cluster;
  BlobClient client(MakeChannel(cluster.address()));
  const TempDir dir;
  const auto store = BlobStore::Open(dir / "blobs");
  REQUIRE(store.ok());

  std::map<std::string, std::vector<double>> parts;  // milliseconds, in the order of their names
  const auto timed = [&](const char* part, const auto& work) {
    const auto begin = bench::Clock::now();
    auto result = work();
    parts[part].push_back(1000 * bench::Since(begin));
    REQUIRE(result.ok());
    return result;
  };
  std::vector<double> sums, predecessor;
  size_t raw_bytes = 0, sent_bytes = 0;
  for (int round = 0; round < kRounds; ++round) {
    const Tile& tile = plan->tiles[static_cast<size_t>(9 + round % 4)];  // inner ones: crops of 576 pixels
    const auto begin = bench::Clock::now();
    // Moved on as the product does it.
    std::string crop = *timed("01 cut", [&] { return canvas.Cut(tile.crop); });
    raw_bytes += 2 * crop.size();
    const std::string packed = *timed("02 compress", [&] { return PackBlob(std::move(crop)); });
    const BlobRef put = *timed("03 put in the store", [&] { return (*store)->Put(packed); });
    const double until_put = 1000 * bench::Since(begin);
    REQUIRE(client.Put(put.hash, packed).ok());  // so that the master's process has it: not a part
    const auto second = bench::Clock::now();
    std::string got = *timed("04 get by the worker", [&] { return client.Get(put.hash, 1 << 30); });
    const std::string whole = *timed("05 decompress", [&] { return UnpackBlob(std::move(got)); });
    const double until_got = 1000 * bench::Since(second);
    std::string redrawn = whole;
    for (size_t i = redrawn.size() - 1000; i < redrawn.size(); ++i) redrawn[i] ^= static_cast<char>(round + 1);
    std::string encoded = redrawn;
    const auto third = bench::Clock::now();
    const std::string answer = *timed("06 compress the result", [&] { return PackBlob(std::move(encoded)); });
    (void)timed("07 put by the worker", [&]() -> StatusOr<int> {
      RETURN_IF_ERROR(client.Put(Sha256Hex(answer), answer));
      return 0;
    });
    const double until_answer = 1000 * bench::Since(third);
    REQUIRE((*store)->Put(answer).ok());  // where this process can read it: not a part
    const auto fourth = bench::Clock::now();
    std::string read = *timed("08 read from the store", [&] { return (*store)->ReadAll(Sha256Hex(answer)); });
    const std::string pixels = *timed("09 decompress the result", [&] { return UnpackBlob(std::move(read)); });
    (void)timed("10 mask and paste", [&]() -> StatusOr<int> {
      RETURN_IF_ERROR(canvas.Paste(*plan, {tile.index}, pixels));
      return 0;
    });
    sums.push_back(until_put + until_got + until_answer + 1000 * bench::Since(fourth));
    sent_bytes += packed.size() + answer.size();

    const auto redrawn_canvas = Canvas::FromBlob(redrawn);
    REQUIRE(redrawn_canvas.ok());
    predecessor.push_back(PredecessorMs(*plan, tile, redrawn_canvas->images()[0], canvas));
  }
  std::string named;
  for (const auto& [part, values] : parts) {
    char text[80];
    std::snprintf(text, sizeof text, "%s%s %.2f", named.empty() ? "" : ", ", part.c_str() + 3, bench::Median(values));
    named += text;
  }
  char note[160];
  std::snprintf(note, sizeof note, "; median of %d; lease and report: see task overhead; %.2f of %.2f MB sent", kRounds,
                static_cast<double>(sent_bytes) / kRounds / 1e6, static_cast<double>(raw_bytes) / kRounds / 1e6);
  return {bench::Median(sums), bench::Median(predecessor), named + note};
}

TEST_CASE("a tile's overhead, part by part") {
  const char* before = getenv("TMPDIR");
  const std::string disk = before != nullptr ? before : "/tmp";
  const Overhead memory = Measure("/dev/shm");
  CHECK(bench::Report("overhead of a 512-pixel tile", memory.ms, "ms", bench::Side::kAtMost, 15,
                      Cat("state in /dev/shm; ", memory.parts)));
  const Overhead drive = Measure(disk);
  bench::Tell("... with the state on disk, whose syncs each put waits for", drive.ms, "ms", drive.parts);
  char compared[160];
  std::snprintf(compared, sizeof compared, "its way to the master alone, %.2fx all parts above",
                memory.predecessor_ms / memory.ms);
  bench::Tell("the same tile as base64 PNG over HTTP", memory.predecessor_ms, "ms", compared);
}

}  // namespace
}  // namespace atelier::test
