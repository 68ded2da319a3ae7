// Who takes which task: the rules, as pure functions of plain figures. docs/scheduler.md explains them.
//
// The rule of all: a task goes to whoever ends it soonest. A worker asks "shall I take one of the tasks that are left,
// which I would end at E?" The answer is no when the others together can end all of them by E, each behind what it has
// to do already. For equal tasks on workers of different speeds that is the best list schedule there is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace atelier::policy {

/// A worker that can do tasks of one kind. Times are seconds on the caller's clock.
struct Seat {
  const double* free_at = nullptr;  // when it will have done all that it holds
  double seconds = 0;               // of one such task; > 0
  double load = 0;                  // once, before the first of them
  const void* who = nullptr;
};

/// Tasks that the seats but `except` can end by `by`, begun at `now` or when they are free. Counts no further than
/// `enough`. Seats in the order of their seconds make it end sooner.
int64_t EndedBy(std::span<const Seat> seats, const void* except, double now, double by, int64_t enough);

/// Whether a worker that would end its task at `ends` takes one of `left` tasks.
bool Takes(std::span<const Seat> seats, const void* who, double now, double ends, int64_t left);

/// When all seats together would end `left` tasks if these could be cut at will, half a task each for what is cut off.
double SharedEnd(std::span<const Seat> seats, double now, double left);

/// When the last of some tasks ends if each goes, the longest chain first, to the worker that ends it soonest (HEFT),
/// all from 0 on. `followers`: task -> those that wait for it; `urgency`: tasks of the longest chain that begins with
/// it; `seconds`: of one task, by worker. REQUIRES: a worker, lists of one length.
double EarliestFinish(const std::vector<std::vector<int>>& followers, const std::vector<int>& urgency,
                      std::span<const double> seconds);

/// Tiles that wait for each other: whether a worker that would end its tile at `ends` leaves time for the `chain` tiles
/// (itself counted) that follow one after the other, at `fastest` seconds each, before the whole ends at `horizon`.
bool LeavesTimeForChain(double ends, int chain, double fastest, double horizon);

/// Whether an idle worker, which would end a task at `ends`, takes it from where it waits and would end at `expected`.
bool WorthMoving(double now, double ends, double expected);
/// The same of a task that runs: a second attempt, and whichever ends first counts.
bool WorthCopying(double now, double ends, double expected);

/// The latest end of a copy that would be worth it.
double LatestCopy(double now, double expected);

/// When a task that should have ended at `expected` will: as much later again as it is late.
double StillExpected(double expected, double now);

/// Milliseconds without a sign of progress after which a task is hung. `learned`: seconds that this usually takes.
int64_t HungAfterMs(double learned, double factor, int64_t ms_min);

}  // namespace atelier::policy
