#include "master/policy/shares.h"

#include <algorithm>
#include <limits>

namespace atelier {

void Shares::Enter(const std::string& submitter) {
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, account] : accounts_)
    if (account.jobs > 0) least = std::min(least, account.time);
  if (least == std::numeric_limits<double>::infinity()) {
    accounts_.clear();  // nobody waits: all debts are settled
    least = 0;
  }
  std::erase_if(accounts_, [&](const auto& entry) { return entry.second.jobs == 0 && entry.second.time <= least; });
  Account& account = accounts_.emplace(submitter, Account{least, 0}).first->second;
  ++account.jobs;
}

void Shares::Leave(const std::string& submitter) {
  auto it = accounts_.find(submitter);
  if (it != accounts_.end() && it->second.jobs > 0) --it->second.jobs;
}

void Shares::Charge(const std::string& submitter, double work) {
  auto it = accounts_.find(submitter);
  if (it == accounts_.end()) return;
  auto weight = weights_.find(submitter);
  it->second.time += work / (weight == weights_.end() ? 1.0 : weight->second);
}

double Shares::Turn(const std::string& submitter) const {
  auto it = accounts_.find(submitter);
  return it == accounts_.end() ? 0 : it->second.time;
}

}  // namespace atelier
