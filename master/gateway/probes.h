// The master's HTTP routes.
#pragma once

#include <span>
#include <string_view>

#include "common/obs/probe_server.h"
#include "master/gateway/core.h"

namespace atelier {

struct HttpRoute {
  std::string_view path;
  ProbeReply (*answer)(Core& core);
};

/// Every route. Thread: any.
std::span<const HttpRoute> HttpRoutes();
/// The answer of the route, or 404 with their list. Thread: any.
ProbeReply AnswerProbe(Core& core, std::string_view path);

}  // namespace atelier
