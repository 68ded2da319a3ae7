// What a tiled stage will take before it runs: tiles, steps, the longest chain that waits for itself, and the speed-up
// that this leaves. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/json/json.h"
#include "master/control/tile_stage.h"

namespace atelier {

/// One order of the steps of a stage.
struct OrderForecast {
  std::string name;                         // "exact, linear", "exact, chess", "independent"
  bool chosen = false;                      // what the job would do
  int steps = 0;                            // sampling runs, seam passes included
  int chain = 0;                            // steps of the longest chain, each cut after the one before was pasted
  std::vector<std::vector<int>> followers;  // step -> later steps that are cut after it was pasted
  std::vector<int> urgency;                 // step -> steps of the longest chain that begins with it
  std::vector<double> speed_ups;  // [n - 1]: of n equal workers against one, at most: steps / max(chain, steps / n)
};
struct TileForecast {
  std::string stage;
  int width = 0, height = 0;  // canvas, pixels
  int columns = 0, rows = 0, tiles = 0;
  std::vector<int> phases;  // steps of the redraw, then of each kind of seam pass; of the chosen order
  std::vector<OrderForecast> orders;
  std::string shape;                   // StageGraph::Tile::shape of the first step
  std::optional<double> step_seconds;  // learned, of the fastest worker
  std::vector<double> worker_seconds;  // the same of each worker that is there
};

/// `settings`, `split`, `order`, `documented`: as PlanTileStage's. `workers_max`: for how many workers speed-ups are
/// told, >= 1. `step_seconds`: what a step took so far on one worker, where that is known. Errors: PlanTileStage's.
/// Thread: any.
StatusOr<TileForecast> ForecastTiles(const std::string& stage, const Json& settings, const TileSplit& split,
                                     const std::string& order, bool documented, int width, int height, int workers_max,
                                     std::optional<double> step_seconds);

/// Adds what a step takes on each worker that is there (seconds, > 0), as learned or estimated. Empty: unknown.
/// Thread: any.
void AddTimes(TileForecast& forecast, std::vector<double> worker_seconds);

/// Seconds that these workers are expected to need for an order, as the scheduler shares it out.
/// REQUIRES: worker_seconds is not empty, the fastest first. Thread: any.
double ExpectedSeconds(const OrderForecast& order, const std::vector<double>& worker_seconds);

/// Text for people; several lines, each ended. Thread: any.
std::string ForecastText(const TileForecast& forecast);
/// The same as JSON: stage, canvas, grid, tiles, phases, orders, step_seconds (null: unknown). Thread: any.
Json ForecastJson(const TileForecast& forecast);

/// The size of the canvas that a stage will have, as far as the plan tells: `canvas` ("WxH") when it is not empty; else
/// the literal width and height of the node that makes the picture, or the size of the file it reads, enlarged where
/// the stage has a base. `file_size`: pixels of an input file. Errors: INVALID_ARGUMENT for a malformed `canvas`,
/// FAILED_PRECONDITION when only running tells. Thread: any.
struct CanvasSize {
  int width = 0, height = 0;
};
using FileSize = std::function<StatusOr<CanvasSize>(const std::string& name)>;
StatusOr<CanvasSize> ExpectedCanvas(const Plan& plan, const StageSpec& stage, const std::string& canvas,
                                    const FileSize& file_size);

}  // namespace atelier
