// A GPU whose power limit, in milliwatts, is the text of the file $ATELIER_FAKE_POWER; it takes 100 to 300 W, and
// with $ATELIER_FAKE_POWER_REFUSES nothing, as from a user without the right to set it.
#include <cstdlib>
#include <cstring>
#include <fstream>

#pragma GCC visibility push(default)
extern "C" {
int nvmlInit_v2() { return std::getenv("ATELIER_FAKE_POWER") == nullptr ? 9 : 0; }
const char* nvmlErrorString(int code) { return code == 6 ? "Not Found" : code == 9 ? "Driver Not Loaded" : "Unknown"; }
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  *device = nullptr;
  return std::strcmp(uuid, "GPU-abababab-abab-abab-abab-abababababab") == 0 ? 0 : 6;
}
int nvmlDeviceGetPowerManagementLimitConstraints(void*, unsigned* least, unsigned* most) {
  *least = 100'000;
  *most = 300'000;
  return 0;
}
int nvmlDeviceGetPowerManagementLimit(void*, unsigned* limit) {
  std::ifstream(std::getenv("ATELIER_FAKE_POWER")) >> *limit;
  return 0;
}
int nvmlDeviceSetPowerManagementLimit(void*, unsigned limit) {
  if (std::getenv("ATELIER_FAKE_POWER_REFUSES") != nullptr) return 4;
  std::ofstream(std::getenv("ATELIER_FAKE_POWER")) << limit;
  return 0;
}
}
