// What a person sees while a job runs: bars per worker on a terminal, else a line for each change. The view is pure
// (events and times in, text out); the printer owns the stream and the redraw.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "atelier/v1/admin.pb.h"

namespace atelier::cli {

/// The state of one job as its events told it. Times are seconds of any steady clock. Thread: one at a time.
class ProgressView {
 public:
  /// `title` names the job to the person, e.g. the workflow's file.
  ProgressView(std::string title, double now);

  /// Takes an event in. Returns the plain lines (without line ends) that it is worth: changes of the job's state, tasks
  /// that start, end or fail, log lines.
  std::vector<std::string> Apply(const v1::JobEvent& event, double now);

  /// The bars: one line a worker that has a task (name, step bar, step/total, label, elapsed) and one for the job
  /// (tasks, tiles, elapsed). No line is wider than `columns`; at most `rows` lines.
  std::vector<std::string> Bars(double now, size_t columns, size_t rows) const;

 private:
  struct TaskView {
    std::string state;
    std::string label;
    std::string worker;
    uint32_t attempts = 0;
    uint32_t step = 0;
    uint32_t total = 0;
    double since = 0;
  };
  void TakeTask(const v1::Task& task, double now, std::vector<std::string>& lines);

  std::string title_;
  double start_;
  std::string state_;
  std::string waiting_;
  uint32_t tasks_done_ = 0;
  uint32_t tasks_total_ = 0;
  std::map<std::string, TaskView> tasks_;
  std::map<std::string, uint64_t> tiles_total_;  // by node
};

/// A bar of `width` columns, `step` of `total` filled. Thread: any.
std::string Bar(uint64_t step, uint64_t total, size_t width);

/// Prints one job's progress. On a terminal the bars stay at the bottom and tick four times a second. Thread: any.
class ProgressPrinter {
 public:
  /// `terminal`: draw bars. `out` must outlive this.
  ProgressPrinter(std::ostream& out, bool terminal, std::string title);
  /// Erases the bars.
  ~ProgressPrinter();
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;

  void Apply(const v1::JobEvent& event);
  /// A line above the bars.
  void Say(const std::string& line);

 private:
  double Now() const;
  void Erase();  // needs mutex_
  void Draw();   // needs mutex_

  std::ostream& out_;
  const bool terminal_;
  std::mutex mutex_;
  std::condition_variable changed_;
  ProgressView view_;
  size_t drawn_ = 0;
  bool ending_ = false;
  std::chrono::steady_clock::time_point drawn_at_{};
  std::thread ticker_;
};

}  // namespace atelier::cli
