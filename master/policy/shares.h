// Whose turn it is: each submitter's share of the cluster, by weighted fair queueing. Pure.
#pragma once

#include <map>
#include <string>

namespace atelier {

/// A submitter's turn comes at its virtual time: the work that it was given, divided by its weight. Thread: one.
class Shares {
 public:
  /// Weights by name; others have 1. REQUIRES: > 0.
  void SetWeights(std::map<std::string, double> weights) { weights_ = std::move(weights); }
  /// A submitter has a job again or one more. Who comes anew begins where the one stands who was given least.
  void Enter(const std::string& submitter);
  /// One of its jobs ended.
  void Leave(const std::string& submitter);
  /// It was given so much work (any unit).
  void Charge(const std::string& submitter, double work);
  /// Smaller goes first.
  double Turn(const std::string& submitter) const;

 private:
  struct Account {
    double time = 0;
    int jobs = 0;
  };
  std::map<std::string, double> weights_;
  std::map<std::string, Account> accounts_;  // of those with jobs, and of others that were given more than their share
};

}  // namespace atelier
