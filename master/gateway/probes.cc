#include "master/gateway/probes.h"

namespace atelier {
namespace {

constexpr const char* kText = "text/plain; charset=utf-8";

constexpr HttpRoute kRoutes[] = {
    {"/metrics",
     [](Core& core) {
       return ProbeReply{200, "text/plain; version=0.0.4; charset=utf-8", core.MetricsPage()};
     }},
    {"/healthz",
     [](Core& core) {
       const Core::Health health = core.CheckHealth();
       return ProbeReply{health.alive ? 200 : 503, kText, health.text};
     }},
    {"/readyz",
     [](Core& core) {
       const Core::Health health = core.CheckHealth();
       return ProbeReply{health.ready ? 200 : 503, kText, health.text};
     }},
};

}  // namespace

std::span<const HttpRoute> HttpRoutes() { return kRoutes; }

ProbeReply AnswerProbe(Core& core, std::string_view path) {
  std::string known;
  for (const HttpRoute& route : kRoutes) {
    if (route.path == path) return route.answer(core);
    known += Cat(" ", route.path);
  }
  return {404, kText, Cat("there are:", known, "\n")};
}

}  // namespace atelier
