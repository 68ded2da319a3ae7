# What the scripts of deploy/ and tests/run share; sourced, never run.

# The colour escapes are left out where nobody looks.
if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold= plain=; fi

say() { printf '%s\n' "${bold}$*${plain}" >&2; }

# die SENTENCE...: says what failed, where, and what to do, then ends with status 1.
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# begin TEXT ... end: announces a step, then how long it took.
begin() {
  step_name=$1
  step_start=$(date +%s.%N)
  say "== $step_name"
}
end() { say "   done in $(awk -v a="$step_start" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f s", b - a }')${1:+, $1}"; }

torch_root() { printf '%s\n' "${ATELIER_TORCH_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/atelier/torch-2.11.0}"; }

has_nvidia_gpu() { [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidia0 ]; }
