// Every bound of the system: name, value, unit, reason. A bound that a user may change has a config key of the same
// name.
#pragma once

#include <cstdint>

namespace atelier::limits {

inline constexpr int64_t kJsonBytesMax = 64 << 20;           // a workflow with embedded data; larger is refused unread
inline constexpr int64_t kWorkflowFileBytesMax = 512 << 20;  // a picture that carries a workflow
inline constexpr int kJsonDepthMax = 200;                    // deeper nesting is no workflow
inline constexpr int64_t kJsonValuesMax = 4'000'000;         // values of one JSON text; bounds memory at some 200 MB
inline constexpr int64_t kPromptNodesMax = 20'000;           // nodes of one prompt after expansion
inline constexpr int kGraphDepthMax = 5'000;  // longest chain of links (the reference fails at about 1,000)
inline constexpr int kSubgraphDepthMax = 32;  // nested subgraph instances
inline constexpr int64_t kImagePixelsMax = 16384LL * 16384;  // of one decoded image; checked before memory is taken
inline constexpr int64_t kTensorBytesMax = 16LL << 30;       // of one tensor between nodes
inline constexpr int64_t kMessageBytesMax = 4 << 20;         // one gRPC message; bulk travels in chunks
inline constexpr int64_t kChunkBytes = 1 << 20;              // one chunk of a blob stream
inline constexpr int64_t kBlobBytesMax = 16LL << 30;         // one blob
inline constexpr int64_t kSafetensorsHeaderBytesMax =
    100'000'000;                                         // as the format itself has it; checked before it is parsed
inline constexpr int64_t kPromptTextBytesMax = 1 << 20;  // one text to encode; longer is refused
inline constexpr int kReplicasMax = 1024;                // of one job
inline constexpr int kTilesMax = 65'536;                 // of one tiled upscale
inline constexpr int64_t kTileLinksMax = 64 << 20;       // overlaps looked at between tiles of one canvas
inline constexpr int kAttemptsMax = 6;                   // tries of one task before its job fails
inline constexpr int kPoisonWorkers = 2;                 // different workers a task may kill before its job fails
inline constexpr int kEventQueueMax = 65'536;            // events waiting for the control thread; producers block
inline constexpr int kLogLinesMax = 10'000;              // kept per worker and per job

}  // namespace atelier::limits
