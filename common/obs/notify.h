// Telling a service manager how this process is: systemd's notification protocol over its datagram socket, without
// libsystemd. Source: sd_notify(3).
#pragma once

#include <cstdint>
#include <string_view>

namespace atelier {

/// Sends lines such as "READY=1" or "STOPPING=1" to $NOTIFY_SOCKET; false where there is none or it does not take
/// them. Thread: any that does not race setenv.
bool NotifyManager(std::string_view lines);

/// "RELOADING=1" with the time that systemd asks for; follow it by "READY=1". Thread: as NotifyManager.
bool NotifyReloading();

/// Within how many milliseconds the manager wants to hear "WATCHDOG=1" from this process; 0: it does not. Half of it
/// is a good beat. Thread: as NotifyManager.
int64_t WatchdogMs();

}  // namespace atelier
