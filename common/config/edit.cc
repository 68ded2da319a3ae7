// Setting one key in a file that a person wrote: the text is changed at the place that the parser names, then read
// again; if anything but that key came out different, the edit is refused.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "common/config/settings.h"

namespace atelier {
namespace {

constexpr std::string_view kListPrefix = "workers.list.";

/// `key` split into the path of map keys, with the name of a worker as a step of its own.
struct KeyPath {
  std::string section;
  std::string worker;  // "": not a key of a worker
  std::string name;
};

KeyPath SplitKey(std::string_view key) {
  if (key.rfind(kListPrefix, 0) == 0) {
    const std::string_view rest = key.substr(kListPrefix.size());
    const size_t dot = rest.rfind('.');  // names of workers may hold dots, keys do not
    if (dot != std::string_view::npos)
      return {"workers", std::string(rest.substr(0, dot)), std::string(rest.substr(dot + 1))};
  }
  const size_t dot = key.find('.');
  return {std::string(key.substr(0, dot)), "", dot == std::string_view::npos ? "" : std::string(key.substr(dot + 1))};
}

/// Sets `key` in the values; the printed new value. Faults are named after the key, not after a line.
StatusOr<std::string> SetValue(ClusterConfig& config, std::string_view key, std::string_view value) {
  RETURN_IF_ERROR(GetSetting(config, key).status());
  YamlNode node;
  node.kind = YamlNode::Kind::kScalar;
  node.text = value;
  // A text that YAML reads as something else than one value (a path with ": ", say) is taken as it stands.
  if (auto parsed = ParseYaml(value, "value"); parsed.ok() && parsed->kind != YamlNode::Kind::kMap) node = *parsed;
  Faults faults("value");
  const KeyPath path = SplitKey(key);
  std::string printed;
  for (const auto& setting : RootSettings()) {
    if (setting.info.key != key) continue;
    setting.read(config, node, faults);
    printed = setting.print(config);
  }
  for (WorkerConfig& worker : config.workers.list) {
    if (path.worker.empty() || worker.name != path.worker) continue;
    for (const auto& setting : WorkerSettings()) {
      if (setting.info.key != path.name) continue;
      setting.read(worker, node, faults);
      printed = setting.print(worker);
    }
  }
  if (!faults.empty()) {
    const std::string all = Message(faults.ToStatus());
    return InvalidArgument(all.substr(all.find(": ") + 2));
  }
  return printed;
}

const YamlNode::Pair* FindPair(const YamlNode& map, std::string_view key) {
  for (const YamlNode::Pair& pair : map.pairs) {
    if (pair.key == key) return &pair;
  }
  return nullptr;
}

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size() - 1);
    lines.emplace_back(text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
  if (!lines.empty() && lines.back().back() != '\n') lines.back() += '\n';
  return lines;
}

/// The end of the scalar or bracketed list that begins at `from` of `line`; npos when it does not end there.
size_t ValueEnd(const std::string& line, size_t from) {
  int depth = 0;
  char quote = 0;
  for (size_t i = from; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == '\\' && quote == '"') ++i;
      if (c == quote) {
        quote = 0;
        if (depth == 0) return i + 1;
      }
    } else if ((c == '"' || c == '\'') && (depth > 0 || i == from)) {
      quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      if (depth == 0) return i;
      if (--depth == 0) return i + 1;
    } else if (depth == 0 && (c == '\n' || c == '\r' || c == ',' ||
                              (c == '#' && i > from && (line[i - 1] == ' ' || line[i - 1] == '\t')))) {
      size_t end = i;
      while (end > from && (line[end - 1] == ' ' || line[end - 1] == '\t')) --end;
      return end;
    }
  }
  return std::string::npos;
}

/// The last line that a node touches.
int LastLine(const YamlNode& node) {
  int last = node.line;
  for (const YamlNode& item : node.items) last = std::max(last, LastLine(item));
  for (const YamlNode::Pair& pair : node.pairs) last = std::max(last, LastLine(pair.value));
  return last;
}

/// Changes the value of `pair`; false when it stands in a form that is not understood.
bool ReplaceValue(std::vector<std::string>& lines, const YamlNode::Pair& pair, const std::string& printed) {
  std::string& key_line = lines[static_cast<size_t>(pair.line - 1)];
  const YamlNode& value = pair.value;
  const size_t column = static_cast<size_t>(value.column - 1);
  const bool below = value.line != pair.line;
  if (value.kind == YamlNode::Kind::kNull || below) {
    const size_t colon = key_line.find(pair.key + ":");
    if (colon == std::string::npos) return false;
    key_line.insert(colon + pair.key.size() + 1, " " + printed);
    if (value.kind != YamlNode::Kind::kNull) {
      if (value.kind != YamlNode::Kind::kList) return false;
      // The items of a block list go; comments between them stay.
      for (int n = LastLine(value); n >= value.line; --n) {
        const auto line = lines.begin() + (n - 1);
        const size_t first = line->find_first_not_of(" \t");
        if (first == std::string::npos || (*line)[first] != '#') lines.erase(line);
      }
    }
    return true;
  }
  if (column >= key_line.size()) return false;
  const size_t end = ValueEnd(key_line, column);
  if (end == std::string::npos) return false;
  key_line.replace(column, end - column, printed);
  return true;
}

/// Puts "name: printed" into a map that lacks it, below the line `after`.
void InsertPair(std::vector<std::string>& lines, int after, int column, const std::string& name,
                const std::string& printed) {
  lines.insert(lines.begin() + after,
               Cat(std::string(static_cast<size_t>(column - 1), ' '), name, ": ", printed, "\n"));
}

bool Edit(std::vector<std::string>& lines, const YamlNode& root, const KeyPath& path, const std::string& printed) {
  const YamlNode::Pair* section = FindPair(root, path.section);
  if (section == nullptr) {
    if (!lines.empty() && lines.back() != "\n") lines.push_back("\n");
    lines.push_back(path.section + ":\n");
    lines.push_back(Cat("  ", path.name, ": ", printed, "\n"));
    return true;
  }
  const YamlNode* map = &section->value;
  int header = section->line;
  if (!path.worker.empty()) {
    const YamlNode::Pair* list = FindPair(*map, "list");
    const YamlNode* found = nullptr;
    for (size_t i = 0; list != nullptr && i < list->value.items.size(); ++i) {
      const YamlNode::Pair* name = FindPair(list->value.items[i], "name");
      if (name != nullptr && name->value.text == path.worker) found = &list->value.items[i];
    }
    if (found == nullptr) return false;
    map = found;
    header = FindPair(*map, "name")->line;
  }
  if (const YamlNode::Pair* pair = FindPair(*map, path.name); pair != nullptr)
    return ReplaceValue(lines, *pair, printed);
  const int column = map->kind == YamlNode::Kind::kMap && !map->pairs.empty() ? map->column : 3;
  InsertPair(lines, header, column, path.name, printed);
  return true;
}

/// Puts a worker's pairs (the name first) into the list of workers; false when the list stands in a form that is not
/// understood.
bool InsertWorker(std::vector<std::string>& lines, const YamlNode& root,
                  const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string flow;
  for (const auto& [key, value] : pairs) flow += Cat(flow.empty() ? "" : ", ", key, ": ", value);
  const auto block = [&](size_t indent) {
    std::vector<std::string> out;
    for (const auto& [key, value] : pairs)
      out.push_back(Cat(std::string(indent, ' '), out.empty() ? "- " : "  ", key, ": ", value, "\n"));
    return out;
  };
  const auto insert = [&](int after, const std::vector<std::string>& made) {
    lines.insert(lines.begin() + after, made.begin(), made.end());
  };
  const YamlNode::Pair* section = FindPair(root, "workers");
  if (section == nullptr) {
    if (!lines.empty() && lines.back() != "\n") lines.push_back("\n");
    lines.push_back("workers:\n");
    lines.push_back("  list:\n");
    insert(static_cast<int>(lines.size()), block(4));
    return true;
  }
  const YamlNode& map = section->value;
  const YamlNode::Pair* list = FindPair(map, "list");
  if (list == nullptr) {
    if (map.kind == YamlNode::Kind::kMap && !map.pairs.empty() && map.line == section->line) return false;  // {...}
    const size_t column = map.kind == YamlNode::Kind::kMap && !map.pairs.empty() ? static_cast<size_t>(map.column) : 3;
    insert(section->line, block(column + 1));
    insert(section->line, {Cat(std::string(column - 1, ' '), "list:\n")});
    return true;
  }
  std::string& key_line = lines[static_cast<size_t>(list->line - 1)];
  const size_t at = key_line.find("list:");
  if (at == std::string::npos) return false;
  if (list->value.items.empty()) {
    if (key_line.find_first_not_of(' ') != at) return false;  // within {...}
    if (list->value.kind == YamlNode::Kind::kList) {
      const size_t from = static_cast<size_t>(list->value.column - 1);
      if (list->value.line != list->line || from >= key_line.size() || key_line[from] != '[') return false;
      const size_t end = ValueEnd(key_line, from);
      if (end == std::string::npos) return false;
      key_line.erase(key_line.find_last_not_of(' ', from - 1) + 1, end - key_line.find_last_not_of(' ', from - 1) - 1);
    }
    insert(list->line, block(at + 2));
    return true;
  }
  const YamlNode& last = list->value.items.back();
  if (list->value.line == list->line) {  // [...]
    const size_t end = ValueEnd(key_line, static_cast<size_t>(list->value.column - 1));
    if (end == std::string::npos || end == 0 || key_line[end - 1] != ']') return false;
    key_line.insert(end - 1, Cat(", {", flow, "}"));
    return true;
  }
  if (last.column < 3) return false;
  insert(LastLine(last), block(static_cast<size_t>(last.column) - 3));
  return true;
}

Status WriteWhole(const std::string& path, std::string_view text) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path real = fs::is_symlink(path, ignored) ? fs::canonical(path, ignored) : fs::path(path);
  const std::string temporary = Cat(real.string(), ".new.", getpid());
  const auto fail = [&](const char* what) {
    const int error = errno;
    unlink(temporary.c_str());
    return ResourceExhausted("cannot ", what, " \"", path, "\": ", std::strerror(error));
  };
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return fail("write beside");
  for (size_t done = 0; done < text.size();) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      Status status = fail("write");
      close(fd);
      return status;
    }
    done += static_cast<size_t>(n);
  }
  if (fs::exists(real, ignored)) fs::permissions(temporary, fs::status(real, ignored).permissions(), ignored);
  const bool synced = fsync(fd) == 0;
  if (close(fd) != 0 || !synced) return fail("write");
  if (rename(temporary.c_str(), real.c_str()) != 0) return fail("replace");
  return OkStatus();
}

}  // namespace

StatusOr<std::string> SetSettingInText(std::string_view text, std::string_view key, std::string_view value,
                                       std::string_view name) {
  ASSIGN_OR_RETURN(const ClusterConfig before, ParseClusterConfig(text, name));
  ClusterConfig wanted = before;
  ASSIGN_OR_RETURN(const std::string printed, SetValue(wanted, key, value));
  if (wanted == before) return std::string(text);
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(text, name));
  std::vector<std::string> lines = Lines(text);
  const bool edited = Edit(lines, root, SplitKey(key), printed);
  std::string out;
  for (const std::string& line : lines) out += line;
  auto after = ParseClusterConfig(out, name);
  if (!edited || !after.ok() || *after != wanted) {
    return InvalidArgument("cannot set \"", key, "\" in ", name, " without touching other lines; write \"", printed,
                           "\" there by hand");
  }
  return out;
}

StatusOr<std::string> AddWorkerToText(std::string_view text, std::string_view worker,
                                      const std::vector<std::pair<std::string, std::string>>& keys,
                                      std::string_view name) {
  ASSIGN_OR_RETURN(ClusterConfig wanted, ParseClusterConfig(text, name));
  for (const WorkerConfig& other : wanted.workers.list)
    if (other.name == worker)
      return InvalidArgument("there is a worker \"", worker,
                             "\" already; change it with `atelier config set workers.list.", worker, ".KEY VALUE`");
  // Read as the file will be read, so that a fault is told by its key.
  std::string flow = Cat("{name: ", YamlScalar(worker));
  std::vector<std::pair<std::string, std::string>> pairs{{"name", YamlScalar(worker)}};
  for (const auto& [key, value] : keys) {
    flow += Cat(", ", key, ": ", value);
    pairs.emplace_back(key, value);
  }
  auto alone = ParseClusterConfig(Cat("workers: {list: [", flow, "}]}"), "value");
  if (!alone.ok()) {
    const std::string all = Message(alone.status());
    return InvalidArgument(all.substr(all.find(": ") + 2));
  }
  wanted.workers.list.push_back(alone->workers.list.at(0));
  ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(text, name));
  std::vector<std::string> lines = Lines(text);
  const bool edited = InsertWorker(lines, root, pairs);
  std::string out;
  for (const std::string& line : lines) out += line;
  auto after = ParseClusterConfig(out, name);
  if (!edited || !after.ok() || *after != wanted)
    return InvalidArgument("cannot add a worker to ", name, " without touching other lines; write \"- ", flow,
                           "}\" below workers.list there by hand");
  return out;
}

namespace {

template <typename EditText>
Status EditFile(const std::string& path, const EditText& edit) {
  std::string text;
  if (std::error_code ignored; std::filesystem::exists(path, ignored)) {
    RETURN_IF_ERROR(LoadClusterConfig(path).status());
    std::ifstream file(path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  ASSIGN_OR_RETURN(const std::string changed, edit(text, path.substr(path.rfind('/') + 1)));
  return WriteWhole(path, changed);
}

}  // namespace

Status SetSettingInFile(const std::string& path, std::string_view key, std::string_view value) {
  return EditFile(
      path, [&](const std::string& text, const std::string& name) { return SetSettingInText(text, key, value, name); });
}

Status AddWorkerToFile(const std::string& path, std::string_view worker,
                       const std::vector<std::pair<std::string, std::string>>& keys) {
  return EditFile(path, [&](const std::string& text, const std::string& name) {
    return AddWorkerToText(text, worker, keys, name);
  });
}

}  // namespace atelier
