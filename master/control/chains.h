// Which tiles of a canvas wait for which. Pure.
#pragma once

#include <vector>

#include "master/control/control.h"

namespace atelier {

/// tile -> later tiles that are cut after it was pasted. Thread: any.
std::vector<std::vector<int>> CutAfter(const StageGraph& graph);

/// tile -> tiles of the longest chain, each to be cut after the one before it, that begins with it. Thread: any.
std::vector<int> ChainsFrom(const StageGraph& graph);

}  // namespace atelier
