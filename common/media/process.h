// Containers and codecs are read by a program of their own, atelier-media: it may compute and read the file that it is
// given, and nothing else (docs/security.md, "Media"). Here is the side that starts it and asks; it believes nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/media/message.h"

namespace atelier::media {

/// From now on this program is started; "": atelier-media in the folder of the running command, as at first. Thread:
/// any.
void UseMediaProgram(std::string path);

/// Whether there is such a program. Errors: FAILED_PRECONDITION with the remedy. Thread: any.
Status CheckMediaProgram();

/// Whether a process is kept waiting for the next file, since its start takes as long as some frames: for whoever reads
/// many files. At first none is. Thread: any.
void KeepMediaProcessWaiting(bool keep);

/// Processes that live at once, for one command.
inline constexpr int kMediaProcessesMax = 64;

class MediaChild;

/// What one process may take for all that is asked of it.
struct MediaLimits {
  int seconds = 0;            // 0: no bound but that of silence, 120 s
  uint64_t memory_bytes = 0;  // 0: 16 GiB
};

/// A process and the file that it works on. It is killed with the object. Thread: one at a time.
class MediaProcess {
 public:
  /// `bytes` has to outlive the object. Errors: FAILED_PRECONDITION when the program cannot be started,
  /// RESOURCE_EXHAUSTED, also beyond kMediaProcessesMax.
  static StatusOr<std::unique_ptr<MediaProcess>> Start(std::string_view bytes, const MediaLimits& limits = {});
  ~MediaProcess();
  MediaProcess(const MediaProcess&) = delete;
  MediaProcess& operator=(const MediaProcess&) = delete;

  /// What the process writes as a file goes to `file`, which has to outlive the object; without this it may write
  /// nothing. Beyond `bytes_max` is RESOURCE_EXHAUSTED.
  void TakeFile(std::string* file, uint64_t bytes_max);

  /// The first request of this kind.
  Json Request(std::string_view kind) const;

  /// Asks, hands out what the process wants to read of the file, and takes its answer, whose body has at most
  /// `body_max` bytes. The answer's head has not been looked at: read it within Understand(). Errors: the status that
  /// the process tells; INVALID_ARGUMENT when it dies of the file or gives an answer that makes no sense,
  /// FAILED_PRECONDITION when it does not start, RESOURCE_EXHAUSTED when it is killed, DEADLINE_EXCEEDED. Nothing can
  /// be asked after an error.
  Status Ask(const Json& request, uint64_t body_max, MediaMessage& answer, std::string_view body = {});

  /// What a head says; a head that says something else than it should is no reason to fall.
  template <typename Read>
  static Status Understand(const Read& read) {
    try {
      return read();
    } catch (const nlohmann::json::exception&) {
      return InvalidArgument("the process that reads the file gave an answer that makes no sense");
    }
  }

 private:
  MediaProcess(std::unique_ptr<MediaChild> child, std::string_view bytes, int seconds);
  Status HandOut(const Json& head);
  Status TakePart(const MediaMessage& part);
  Status Failed(const Status& status);
  Status Ended();

  const std::unique_ptr<MediaChild> child_;
  const std::string_view bytes_;
  const MessageTime until_;
  std::string* file_ = nullptr;
  uint64_t file_bytes_max_ = 0;
};

}  // namespace atelier::media
