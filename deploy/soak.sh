#!/usr/bin/env bash
# npm run soak [-- --minutes N | --hours N]: five real services under load with planted attacks; default 20 minutes. Nothing but what
# was planted may be told, all of that must be, and memory must not grow. Figures: .hullmark/soak/report.json.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
usage() { echo 'usage: npm run soak [-- --minutes N | --hours N]' >&2; exit 2; }
minutes=${HULLMARK_SOAK_MINUTES:-20}
while [ $# -gt 0 ]; do
  [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
  case $1 in
    --minutes) minutes=$2 ;;
    --hours) minutes=$(($2 * 60)) ;;
    *) usage ;;
  esac
  shift 2
done
echo 'Set-up'
bash deploy/setup.sh test
trap hand_back EXIT
as_root env "HULLMARK_SOAK_MINUTES=$minutes" vitest run --config test/vitest.soak.config.ts
