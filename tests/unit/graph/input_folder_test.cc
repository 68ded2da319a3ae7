// Inputs that name a folder of pictures.
#include "common/graph/input_folder.h"

#include <catch2/catch.hpp>

namespace atelier {
namespace {

TEST_CASE("folders of pictures, and the pictures of one") {
  const std::vector<std::string> files{"a.png",           "clips/b.MP4",   "set/2.JPG",    "set/1.png",
                                       "set/deep/3.webp", "set/notes.txt", "settled/4.png"};
  CHECK(PictureFolders(files) == std::vector<std::string>{"set", "set/deep", "settled"});
  CHECK(PicturesIn("set/", files) == std::vector<std::string>{"set/1.png", "set/2.JPG"});
  CHECK(PicturesIn("none/", files).empty());
}

TEST_CASE("files as one text come apart as they were, and damage is an error") {
  const std::vector<std::pair<std::string, std::string>> files{{"set/1.png", std::string("\0:3:abc", 7)},
                                                               {"set/2.png", ""}};
  const std::string text = JoinFiles(files);
  CHECK(SplitFiles(text).value() == files);
  CHECK(SplitFiles("").value().empty());
  for (size_t size = 1; size < text.size(); ++size) {
    const auto cut = SplitFiles(text.substr(0, size));
    if (cut.ok()) CHECK(cut->size() < files.size());
  }
  for (const char* damaged : {"x", "5:ab", "99999999999999999999:a", "-1:a", "1:a1"})
    CHECK_FALSE(SplitFiles(damaged).ok());
}

}  // namespace
}  // namespace atelier
