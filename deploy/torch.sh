# How libtorch comes out of its wheels; sourced by deploy/deps and atelier-fetch-torch, never run. Needs lib.sh.

# wanted_wheels LIST ROOT GPU: "requirement sha256 MB" of every wheel that this machine needs and ROOT lacks.
wanted_wheels() {
  local when requirement sha mb
  while read -r when requirement sha mb; do
    case $when in '' | \#*) continue ;; gpu) [ "$3" = yes ] || continue ;; esac
    grep -qxF "$requirement $sha" "$2/.complete" 2>/dev/null || printf '%s %s %s\n' "$requirement" "$sha" "$mb"
  done <"$1"
}

# install_wheels LIST ROOT GPU: fetches what is wanted with the pinned checksums and unpacks the libraries into ROOT.
install_wheels() {
  local wheels=$1 root=$2 gpu=$3
  mkdir -p "$root" || die "cannot make $root; set ATELIER_TORCH_ROOT or XDG_CACHE_HOME to a folder that can be written"
  exec 9>"$root/.lock"
  flock -n 9 || { say "== libtorch: another process is at work in $root; waiting for it"; flock 9; }
  local list total
  list=$(wanted_wheels "$wheels" "$root" "$gpu")
  if [ -z "$list" ]; then
    say "== libtorch 2.11.0: complete in $root (GPU libraries: $gpu)"
    return
  fi
  total=$(awk '{ n += $3 } END { print n }' <<<"$list")
  # Unpacked the wheels take about twice their size, and for a moment both are there.
  local free
  free=$(df -Pm "$root" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge $((total * 3 + 200)) ] || die "$root has $free MB free, $((total * 3 + 200)) MB are needed; free some or set ATELIER_TORCH_ROOT"
  python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip, which fetches libtorch; install python3-pip"
  command -v unzip >/dev/null || die "there is no unzip, which opens the wheels; install unzip"
  local requirement sha mb
  while read -r requirement sha mb; do
    begin "libtorch: $requirement ($mb MB)"
    local part=$root/.part
    rm -rf "$part"
    mkdir -p "$part/wheel" "$part/files"
    printf '%s --hash=sha256:%s\n' "$requirement" "$sha" >"$part/requirements.txt"
    if ! python3 -m pip download --quiet --no-deps --no-cache-dir --require-hashes --only-binary=:all: \
      --implementation cp --python-version 3.11 --abi cp311 --abi none \
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_25_x86_64 \
      --platform manylinux_2_18_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
      --platform manylinux2010_x86_64 --platform manylinux1_x86_64 \
      --dest "$part/wheel" -r "$part/requirements.txt" </dev/null >"$part/log" 2>&1; then
      tail -n 10 "$part/log" >&2
      die "pip could not fetch $requirement with the pinned checksum (its last lines are above); check the network, then run ${0##*/} again"
    fi
    # Status 11: none of a wheel's files match one of the patterns, which is expected.
    local status=0
    unzip -q -o "$part"/wheel/*.whl 'torch/lib/*.so*' 'torch/include/*' 'nvidia/*/lib/*.so*' -x 'torch/lib/libtorch_python.so' \
      'torch/lib/libshm*' -d "$part/files" </dev/null >"$part/log" 2>&1 || status=$?
    [ "$status" = 0 ] || [ "$status" = 11 ] || die "cannot unpack $requirement: $(tail -n 1 "$part/log")"
    [ -n "$(ls "$part/files")" ] || die "$requirement holds none of torch/lib, torch/include, nvidia/*/lib; torch-wheels.txt names a wheel of another layout"
    # Links, not moves: a file that a running worker has mapped stays whole.
    cp -rlf "$part/files/." "$root/"
    printf '%s %s\n' "$requirement" "$sha" >>"$root/.complete"
    rm -rf "$part"
    end
  done <<<"$list"
}
