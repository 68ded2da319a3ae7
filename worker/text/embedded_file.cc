#include "worker/text/embedded_file.h"

#include <zlib.h>

#include "common/base/check.h"

namespace atelier::text {

std::string Inflate(const unsigned char* begin, const unsigned char* end, size_t bytes_max) {
  z_stream stream{};
  ATELIER_CHECK(inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK);
  std::string out(bytes_max, '\0');
  stream.next_in = const_cast<unsigned char*>(begin);
  stream.avail_in = static_cast<uInt>(end - begin);
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ATELIER_CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

}  // namespace atelier::text
