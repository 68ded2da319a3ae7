// Programs in the place of Avahi's, first in $PATH while this lives.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/base/check.h"
#include "common/base/status.h"

namespace atelier::test {

class FakeAvahi {
 public:
  FakeAvahi() : path_(std::getenv("PATH")), folder_("/tmp/atelier-avahi-XXXXXX") {
    ATELIER_CHECK(mkdtemp(folder_.data()) != nullptr);
    setenv("PATH", (folder_ + ":" + path_).c_str(), 1);
  }
  ~FakeAvahi() {
    setenv("PATH", path_.c_str(), 1);
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  FakeAvahi(const FakeAvahi&) = delete;
  FakeAvahi& operator=(const FakeAvahi&) = delete;
  /// `name` is this shell script from now on.
  void Set(const std::string& name, const std::string& script) const {
    std::ofstream(folder_ + "/" + name) << "#!/bin/sh\n" << script << "\n";
    chmod((folder_ + "/" + name).c_str(), 0755);
  }
  void SetOffer(const std::string& address, const std::string& fingerprint) const {
    const size_t colon = address.rfind(':');
    Set("avahi-browse", Cat("echo '=;lo;IPv4;Atelier;_atelier._tcp;local;h.local;", address.substr(0, colon), ";",
                            address.substr(colon + 1), ";\"fingerprint=", fingerprint, "\"'"));
  }
  const std::string& folder() const { return folder_; }

 private:
  const std::string path_;
  std::string folder_;
};

}  // namespace atelier::test
