#!/usr/bin/env bash
# npm run demo [-- --keep | --down]: sets up what is missing, then plays the demo on real parts. --keep leaves the stack running and
# says how to use it; --down removes it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
case "$*" in
  '' | --keep) ;;
  --down)
    if [ ! -x node_modules/.bin/node ]; then echo 'no demo is kept'; exit 0; fi
    as_root node deploy/demo/main.ts --down
    exit
    ;;
  *) echo 'usage: npm run demo [-- --keep | --down]' >&2; exit 2 ;;
esac
echo 'Set-up'
bash deploy/setup.sh demo

# Interrupted or failed: not gone before everything is. (The test bed's own watchdog does the same, but nobody waits for it.)
finish() {
  [ "$?" = 0 ] || as_root node deploy/testbed/main.ts sweep >/dev/null 2>&1 || true
  hand_back || true
}
trap finish EXIT
trap 'printf "\ninterrupted: removing everything\n"; exit 130' INT
trap 'exit 143' TERM
as_root node deploy/demo/main.ts "$@"
