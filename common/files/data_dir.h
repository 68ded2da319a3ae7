// Where the program's own data files lie: catalog.json, widgets.json.
#pragma once

#include <string>

#include "common/base/status.h"

namespace atelier {

/// $ATELIER_DATA_DIR, else ../../config of the running program's folder (a build tree), else ../share/atelier beside it
/// (a bundle), else /usr/share/atelier. Errors: NOT_FOUND naming the places. Thread: any.
StatusOr<std::string> DataDir();

/// Where a program keeps what it may lose: $STATE_DIRECTORY (systemd), $ATELIER_STATE_DIR, $XDG_STATE_HOME/atelier,
/// else
/// ~/.local/state/atelier; "" without any of them. Thread: any that does not race setenv.
std::string KeepDir();

}  // namespace atelier
