# Shared by the scripts of this folder: source it. Sets the working directory to the repository and Node 24 first in PATH.
# shellcheck shell=bash
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly repository=$PWD
export HULLMARK_STATE=${HULLMARK_STATE:-$repository/.hullmark}
# A user's own PATH on Debian is without the folders of the administrator's commands, and a sudo may keep it.
export PATH=$repository/node_modules/.bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The tests start many Node processes from the sources: what one of them compiled the next need not.
export NODE_COMPILE_CACHE=$HULLMARK_STATE/cache/compiled
readonly logs=$HULLMARK_STATE/logs
mkdir -p "$logs"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  readonly green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
else
  readonly green='' red='' dim='' plain=''
fi

# step TITLE COMMAND... : runs quietly; one line with the time it took, and the end of its output when it fails.
step() {
  local title=$1 started=$SECONDS log status=0
  # Cut: the names of all packages that a bare machine lacks are longer than a file's name may be.
  log=$logs/$(printf '%.80s' "$1" | tr -c 'A-Za-z0-9' '-').log
  shift
  if [ -t 1 ]; then printf '  … %s\r' "$title"; fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" = 0 ]; then
    printf '  %s✓%s %s %s%s s%s\n' "$green" "$plain" "$title" "$dim" "$((SECONDS - started))" "$plain"
  else
    printf '  %s✗%s %s (exit %s, %s s; all of it in %s)\n' "$red" "$plain" "$title" "$status" "$((SECONDS - started))" "$log"
    tail -n 40 "$log" | sed 's/^/      /'
  fi
  return "$status"
}

# as_root COMMAND... : runs as root, by sudo where needed, with this environment's PATH and HULLMARK_ settings.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo env "PATH=$PATH" "HULLMARK_STATE=$HULLMARK_STATE" "NODE_COMPILE_CACHE=$NODE_COMPILE_CACHE" "CI=${CI:-}" "NO_COLOR=${NO_COLOR:-}" "HULLMARK_FULL=${HULLMARK_FULL:-}" "HULLMARK_ENGINE_BIN=${HULLMARK_ENGINE_BIN:-}" "HULLMARK_CGROUP=${HULLMARK_CGROUP:-}" "HULLMARK_BUILD_CACHE=${HULLMARK_BUILD_CACHE-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/hullmark-build}" "HULLMARK_SOAK_MINUTES=${HULLMARK_SOAK_MINUTES:-20}" "$@"
  else
    echo "this needs root, and there is no sudo: run it as root" >&2
    return 2
  fi
}

# hand_back : what root made in the checkout and in the state folder is from now on the one's who ran the script, so that it can be removed without root.
# What test beds in use (or kept) hold stays root's.
hand_back() {
  [ "$(id -u)" = 0 ] || as_root find "$repository" "$HULLMARK_STATE" -xdev -path "$HULLMARK_STATE/run/*" -prune -o -user root -exec chown -h "$(id -u):$(id -g)" {} +
}
