// One device, and a second one.
#include <cstring>

#pragma GCC visibility push(default)
extern "C" {
int cuInit(unsigned) { return 0; }
int cuDeviceGet(int* device, int number) {
  *device = number;
  return number < 2 ? 0 : 101;
}
int cuDeviceGetUuid(void* uuid, int device) {
  std::memset(uuid, 0xab + device, 16);
  return 0;
}
}
