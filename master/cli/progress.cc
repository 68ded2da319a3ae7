#include "master/cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "common/base/status.h"
#include "master/cli/format.h"

namespace atelier::cli {
namespace {

constexpr size_t kBarWidth = 24;
constexpr size_t kBarRowsMax = 24;
constexpr auto kTick = std::chrono::milliseconds(250);
constexpr auto kRedrawMin = std::chrono::milliseconds(80);

bool IsTile(const std::string& label) { return label.rfind("tile ", 0) == 0; }

// "tile 7/16 of node 12": the node has 16 tiles.
void TakeTile(const std::string& label, std::map<std::string, uint64_t>& totals) {
  const size_t slash = label.find('/');
  const size_t of = label.find(" of ");
  uint64_t total = 0;
  if (slash == std::string::npos || of == std::string::npos || slash > of) return;
  const char* end = label.data() + of;
  if (std::from_chars(label.data() + slash + 1, end, total).ptr == end) totals[label.substr(of)] = total;
}

bool IsRunning(const std::string& state) { return state == "leased" || state == "running"; }

}  // namespace

std::string Bar(uint64_t step, uint64_t total, size_t width) {
  const size_t filled = total == 0 ? 0 : static_cast<size_t>(std::min(step, total) * width / total);
  return "[" + std::string(filled, '#') + std::string(width - filled, '-') + "]";
}

ProgressView::ProgressView(std::string title, double now) : title_(std::move(title)), start_(now) {}

void ProgressView::TakeTask(const v1::Task& task, double now, std::vector<std::string>& lines) {
  const auto [it, fresh] = tasks_.try_emplace(task.id());
  TaskView& view = it->second;
  if (fresh && IsTile(task.label())) TakeTile(task.label(), tiles_total_);
  const std::string name = task.label().empty() ? "task " + Clip(task.id(), 40) : Clip(task.label(), 60);
  const std::string where = task.worker().empty() ? "" : " on " + Clip(task.worker(), 40);
  if (view.state != task.state() || view.attempts != task.attempts() || view.worker != task.worker()) {
    if (IsRunning(task.state())) {
      view.since = now;
      const std::string again = task.attempts() > 1 ? Cat(" (attempt ", task.attempts(), ")") : "";
      lines.push_back(name + ": started" + where + again);
    } else if (view.state != task.state() && (task.state() == "done" || task.state() == "failed")) {
      lines.push_back(name + ": " + task.state() + where +
                      (task.seconds() > 0 ? " in " + FormatSeconds(task.seconds()) : ""));
    }
  }
  view.state = task.state();
  view.label = name;
  view.worker = task.worker();
  view.attempts = task.attempts();
  view.step = task.step();
  view.total = task.total();
}

std::vector<std::string> ProgressView::Apply(const v1::JobEvent& event, double now) {
  std::vector<std::string> lines;
  if (event.has_job()) {
    const v1::Job& job = event.job();
    tasks_done_ = job.tasks_done();
    tasks_total_ = job.tasks_total();
    if (job.state() != state_) {
      state_ = job.state();
      std::string line = title_ + ": " + state_;
      if (IsEnded(state_)) line += " after " + FormatSeconds(job.seconds());
      if (!job.error().empty()) line += ": " + Clip(job.error(), 2000);
      lines.push_back(line);
    }
    if (job.waiting() != waiting_) {
      waiting_ = job.waiting();
      if (!waiting_.empty()) lines.push_back(title_ + ": waits for " + Clip(waiting_, 2000));
    }
  }
  if (event.has_task()) TakeTask(event.task(), now, lines);
  if (!event.log().empty())
    lines.push_back((event.worker().empty() ? "" : Clip(event.worker(), 40) + ": ") + Clip(event.log(), 2000));
  return lines;
}

std::vector<std::string> ProgressView::Bars(double now, size_t columns, size_t rows) const {
  std::map<std::string, const TaskView*> running;  // by worker: the task that it took last
  uint64_t tiles = 0;
  for (const auto& [node, total] : tiles_total_) tiles += total;
  size_t tiles_done = 0;
  for (const auto& [id, task] : tasks_) {
    if (IsTile(task.label) && task.state == "done") ++tiles_done;
    if (!IsRunning(task.state) || task.worker.empty()) continue;
    const TaskView*& slot = running[task.worker];
    if (slot == nullptr || task.step > 0 || (slot->step == 0 && task.since < slot->since)) slot = &task;
  }
  size_t name_width = 0;
  size_t label_width = 0;
  for (const auto& [worker, task] : running) {
    name_width = std::max(name_width, DisplayWidth(Clip(worker, 20)));
    label_width = std::max(label_width, DisplayWidth(Clip(task->label, 28)));
  }
  const auto padded = [](const std::string& text, size_t width) {
    const size_t have = DisplayWidth(text);
    return have < width ? text + std::string(width - have, ' ') : text;
  };
  std::vector<std::string> lines;
  for (const auto& [worker, task] : running) {
    if (lines.size() + 1 >= rows) break;
    std::string steps = task->total > 0 ? Cat(task->step, "/", task->total) : "...";
    if (steps.size() < 7) steps.insert(0, 7 - steps.size(), ' ');
    lines.push_back(Clip(padded(Clip(worker, 20), name_width) + "  " + Bar(task->step, task->total, kBarWidth) + " " +
                             steps + "  " + padded(Clip(task->label, 28), label_width) + "  " +
                             FormatSeconds(now - task->since),
                         columns));
  }
  std::string whole = Clip(title_, 40) + "  " + (state_.empty() ? "submitted" : state_);
  if (tasks_total_ > 0)
    whole += Cat("  ", Bar(tasks_done_, tasks_total_, kBarWidth), "  tasks ", tasks_done_, "/", tasks_total_);
  if (tiles > 0) whole += Cat("  tiles ", tiles_done, "/", tiles);
  whole += "  " + FormatSeconds(now - start_);
  if (rows > 0) lines.push_back(Clip(whole, columns));
  return lines;
}

ProgressPrinter::ProgressPrinter(std::ostream& out, bool terminal, std::string title)
    : out_(out), terminal_(terminal), view_(std::move(title), Now()) {
  if (!terminal_) return;
  ticker_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kTick, [this] { return ending_; })) Draw();
  });
}

ProgressPrinter::~ProgressPrinter() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (ticker_.joinable()) ticker_.join();
  std::lock_guard lock(mutex_);
  Erase();
  out_.flush();
}

double ProgressPrinter::Now() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void ProgressPrinter::Erase() {
  for (; drawn_ > 0; --drawn_) out_ << "\x1b[1A\x1b[2K";
}

void ProgressPrinter::Draw() {
  size_t columns = 80;
  size_t rows = kBarRowsMax;
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    columns = size.ws_col - 1u;  // a full last column wraps on some terminals
    rows = std::min<size_t>(rows, size.ws_row > 1 ? size.ws_row - 1u : 1u);
  }
  Erase();
  for (const std::string& line : view_.Bars(Now(), columns, rows)) {
    out_ << line << "\n";
    ++drawn_;
  }
  out_.flush();
  drawn_at_ = std::chrono::steady_clock::now();
}

void ProgressPrinter::Apply(const v1::JobEvent& event) {
  std::lock_guard lock(mutex_);
  const std::vector<std::string> lines = view_.Apply(event, Now());
  if (!terminal_) {
    for (const std::string& line : lines) out_ << line << "\n";
    out_.flush();
    return;
  }
  // The bars show starts and ends; only what they cannot show scrolls by.
  bool said = false;
  if (event.has_job() && (IsEnded(event.job().state()) || !event.job().waiting().empty())) {
    Erase();
    for (const std::string& line : lines) out_ << line << "\n";
    said = !lines.empty();
  } else if (!event.log().empty() && !lines.empty()) {
    Erase();
    out_ << lines.back() << "\n";
    said = true;
  }
  if (said || std::chrono::steady_clock::now() - drawn_at_ >= kRedrawMin) Draw();
}

void ProgressPrinter::Say(const std::string& line) {
  std::lock_guard lock(mutex_);
  Erase();
  out_ << line << "\n";
  if (terminal_) Draw();
  out_.flush();
}

}  // namespace atelier::cli
