#include "master/control/tile_forecast.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

#include "master/control/chains.h"
#include "master/policy/placement.h"

namespace atelier {
namespace {

std::string Round(double value, int digits) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

OrderForecast Describe(std::string name, bool chosen, const TileStage& stage, int workers_max) {
  OrderForecast order;
  order.name = std::move(name);
  order.chosen = chosen;
  order.steps = static_cast<int>(stage.plan.steps.size());
  order.followers = CutAfter(stage.graph);
  order.urgency = ChainsFrom(stage.graph);
  order.chain = order.steps == 0 ? 0 : *std::max_element(order.urgency.begin(), order.urgency.end());
  for (int n = 1; n <= workers_max; ++n) {
    const int share = (order.steps + n - 1) / n;
    order.speed_ups.push_back(order.steps == 0 ? 1.0 : static_cast<double>(order.steps) / std::max(order.chain, share));
  }
  return order;
}

std::optional<CanvasSize> ParseSize(const std::string& text) {
  CanvasSize size;
  const char* const end = text.data() + text.size();
  const auto [x, error] = std::from_chars(text.data(), end, size.width);
  if (error != std::errc() || x == end || *x != 'x') return std::nullopt;
  const auto [rest, second] = std::from_chars(x + 1, end, size.height);
  if (second != std::errc() || rest != end || size.width < 1 || size.height < 1) return std::nullopt;
  return size;
}

int Literal(const Json& inputs, const char* name) {
  const auto it = inputs.find(name);
  if (it == inputs.end() || !it->is_number()) return 0;
  return static_cast<int>(std::clamp(it->get<double>(), 0.0, 1e6));
}

const TaskSpec* FindTask(const Plan& plan, const std::string& id) {
  const auto it = std::find_if(plan.tasks.begin(), plan.tasks.end(), [&](const TaskSpec& t) { return t.id == id; });
  return it == plan.tasks.end() ? nullptr : &*it;
}

// The task and node that give `input` of a node its value, linked inside the task or bound to another one.
std::pair<const TaskSpec*, std::string> SourceOf(const Plan& plan, const TaskSpec& task, const std::string& node,
                                                 const std::string& input) {
  const Json& inputs = task.nodes.at(node).at("inputs");
  const auto link = inputs.find(input);
  if (link != inputs.end() && link->is_array() && link->size() == 2 && (*link)[0].is_string())
    return {&task, (*link)[0].get<std::string>()};
  for (const Binding& binding : task.bindings) {
    if (binding.node != node || binding.input != input) continue;
    const TaskSpec* from = FindTask(plan, binding.sources.at(0).task);
    if (from != nullptr && binding.sources[0].output < from->wanted.size())
      return {from, from->wanted[binding.sources[0].output].node};
  }
  return {nullptr, ""};
}

}  // namespace

StatusOr<TileForecast> ForecastTiles(const std::string& stage, const Json& settings, const TileSplit& split,
                                     const std::string& order, bool documented, int width, int height, int workers_max,
                                     std::optional<double> step_seconds) {
  Json plain = settings;  // the node's own order goes first
  const std::string own = settings.value("order", Json()) == "exact" || settings.value("order", Json()) == "independent"
                              ? settings["order"].get<std::string>()
                              : order;
  plain.erase("order");
  ASSIGN_OR_RETURN(const TileStage chosen, PlanTileStage(plain, split, own, documented, width, height));
  TileForecast forecast;
  forecast.stage = stage;
  forecast.width = width;
  forecast.height = height;
  forecast.columns = chosen.plan.columns;
  forecast.rows = chosen.plan.rows;
  forecast.step_seconds = step_seconds;
  if (!chosen.graph.tiles.empty()) forecast.shape = chosen.graph.tiles.front().shape;
  const RedrawMode mode = chosen.plan.settings.mode;
  for (const std::vector<int>& step : chosen.plan.steps) {
    const auto phase = static_cast<size_t>(chosen.plan.tiles[static_cast<size_t>(step.front())].phase);
    if (forecast.phases.size() <= phase) forecast.phases.resize(phase + 1, 0);
    ++forecast.phases[phase];
    if (phase == 0) forecast.tiles += static_cast<int>(step.size());
  }
  for (const RedrawMode one : {RedrawMode::kLinear, RedrawMode::kChess}) {
    if (mode == RedrawMode::kNone && one == RedrawMode::kChess) continue;  // the seam passes alone: no order to choose
    const char* const name = kRedrawModes[static_cast<size_t>(mode == RedrawMode::kNone ? mode : one)];
    plain["mode_type"] = name;
    ASSIGN_OR_RETURN(const TileStage other, PlanTileStage(plain, split, "exact", documented, width, height));
    const bool is_chosen = own != "independent" && (mode == one || mode == RedrawMode::kNone);
    forecast.orders.push_back(Describe(Cat("exact, ", name), is_chosen, other, workers_max));
  }
  plain["mode_type"] = kRedrawModes[static_cast<size_t>(mode)];
  ASSIGN_OR_RETURN(const TileStage independent, PlanTileStage(plain, split, "independent", documented, width, height));
  forecast.orders.push_back(Describe("independent", own == "independent", independent, workers_max));
  return forecast;
}

void AddTimes(TileForecast& forecast, std::vector<double> worker_seconds) {
  std::sort(worker_seconds.begin(), worker_seconds.end());
  if (!worker_seconds.empty()) forecast.step_seconds = worker_seconds.front();
  forecast.worker_seconds = std::move(worker_seconds);
}

double ExpectedSeconds(const OrderForecast& order, const std::vector<double>& worker_seconds) {
  return policy::EarliestFinish(order.followers, order.urgency, worker_seconds);
}

std::string ForecastText(const TileForecast& f) {
  std::string text = Cat("  stage ", f.stage, ": canvas ", f.width, "x", f.height, ", ", f.columns, " x ", f.rows,
                         " grid, ", f.tiles, " tiles\n    steps: ");
  for (size_t phase = 0; phase < f.phases.size(); ++phase)
    text += Cat(phase == 0 ? "" : " + ", f.phases[phase], phase == 0 ? " redraw" : Cat(" seam pass ", phase));
  text += "\n";
  for (const OrderForecast& order : f.orders) {
    text += Cat("    ", order.chosen ? "* " : "  ", order.name, ": longest chain ", order.chain, " of ", order.steps,
                " steps; at most");
    for (size_t n = 1; n < order.speed_ups.size(); ++n)
      text += Cat(n == 1 ? " " : ", ", Round(order.speed_ups[n], 2), "x with ", n + 1);
    text += order.speed_ups.size() < 2 ? " 1.00x with 1 worker\n" : " workers\n";
    if (!f.worker_seconds.empty())
      text += Cat("      about ", Round(ExpectedSeconds(order, f.worker_seconds), 1), " s with the ",
                  f.worker_seconds.size(), f.worker_seconds.size() == 1 ? " worker" : " workers", " that are there\n");
    if (!order.chosen || !f.step_seconds) continue;
    text += Cat("      ", Round(*f.step_seconds, 2), " s a step, ", Round(*f.step_seconds * order.steps, 1),
                " s with 1 worker");
    if (order.speed_ups.size() > 1)
      text += Cat(", at least ", Round(*f.step_seconds * order.steps / order.speed_ups.back(), 1), " s with ",
                  order.speed_ups.size());
    text += "\n";
  }
  if (!f.step_seconds) text += "    time: unknown, no step of this kind was timed yet\n";
  return text;
}

Json ForecastJson(const TileForecast& f) {
  Json json{{"stage", f.stage},   {"canvas", {f.width, f.height}}, {"grid", {f.columns, f.rows}}, {"tiles", f.tiles},
            {"phases", f.phases}, {"orders", Json::array()},       {"step_seconds", nullptr}};
  if (f.step_seconds) json["step_seconds"] = *f.step_seconds;
  for (const OrderForecast& order : f.orders) {
    Json one{{"name", order.name},
             {"chosen", order.chosen},
             {"steps", order.steps},
             {"longest_chain", order.chain},
             {"speed_up_at_most", order.speed_ups}};
    if (!f.worker_seconds.empty()) one["seconds_expected"] = ExpectedSeconds(order, f.worker_seconds);
    if (f.step_seconds) one["seconds_one_worker"] = *f.step_seconds * order.steps;
    json["orders"].push_back(std::move(one));
  }
  return json;
}

StatusOr<CanvasSize> ExpectedCanvas(const Plan& plan, const StageSpec& stage, const std::string& canvas,
                                    const FileSize& file_size) {
  if (!canvas.empty()) {
    const std::optional<CanvasSize> size = ParseSize(canvas);
    if (!size) return InvalidArgument("canvas \"", canvas, "\" has not the form WIDTHxHEIGHT, for example 3840x2160");
    return *size;
  }
  const Status unknown = FailedPrecondition("the size of its canvas is known only when it runs; tell --canvas WxH");
  if (stage.bindings.empty() || stage.bindings[0].input != stage.split.image_input) return unknown;
  const Source& source = stage.bindings[0].sources.at(0);
  const TaskSpec* task = FindTask(plan, source.task);
  if (task == nullptr || source.output >= task->wanted.size()) return unknown;
  std::string node = task->wanted[source.output].node;
  double by = 1.0;
  int multiple = 1;
  if (stage.split.canvas_multiple > 1) {  // its base: the picture is what that enlarges
    const Json inputs = task->nodes.at(node).at("inputs");
    multiple = stage.split.canvas_multiple;
    if (inputs.contains("upscale_by") && !inputs["upscale_by"].is_number()) return unknown;
    by = inputs.value("upscale_by", 1.0);
    std::tie(task, node) = SourceOf(plan, *task, node, stage.split.image_input);
    if (task == nullptr) return unknown;
  }
  const auto found = task->nodes.find(node);
  if (found == task->nodes.end()) return unknown;
  const Json& inputs = found->at("inputs");
  CanvasSize size{Literal(inputs, "width"), Literal(inputs, "height")};
  if (size.width == 0 || size.height == 0) {
    size = {};
    for (const auto& [name, value] : inputs.items()) {
      if (!value.is_string() || !task->input_files.contains(value.get<std::string>())) continue;
      ASSIGN_OR_RETURN(size, file_size(value.get<std::string>()));
    }
    if (size.width == 0) return unknown;
  }
  const auto enlarge = [&](int side) {
    return static_cast<int>(multiple * std::nearbyint(side * by / multiple));  // half to even
  };
  return CanvasSize{enlarge(size.width), enlarge(size.height)};
}

}  // namespace atelier
