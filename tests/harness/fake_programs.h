// Shell scripts in the place of installed programs, first in $PATH while this lives.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/base/check.h"

namespace atelier::test {

class FakePrograms {
 public:
  FakePrograms() : path_(std::getenv("PATH")), folder_("/tmp/atelier-programs-XXXXXX") {
    ATELIER_CHECK(mkdtemp(folder_.data()) != nullptr);
    setenv("PATH", (folder_ + ":" + path_).c_str(), 1);
  }
  ~FakePrograms() {
    setenv("PATH", path_.c_str(), 1);
    std::error_code error;
    std::filesystem::remove_all(folder_, error);
  }
  FakePrograms(const FakePrograms&) = delete;
  FakePrograms& operator=(const FakePrograms&) = delete;
  /// `name` is this shell script from now on, at any instant the old or the new one.
  void Set(const std::string& name, const std::string& script) const {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path + ".new") << "#!/bin/sh\n" << script << "\n";
    chmod((path + ".new").c_str(), 0755);
    std::filesystem::rename(path + ".new", path);
  }
  const std::string& folder() const { return folder_; }

 private:
  const std::string path_;
  std::string folder_;
};

}  // namespace atelier::test
