#!/usr/bin/env bash
# npm run bench: every figure of docs/benchmarks.md, measured here and now; meant to take less than 15 minutes. The table goes to standard output and to
# $HULLMARK_STATE/bench/results.txt, the raw figures beside it as JSON. Exit code 1 when a bench could not run.
#
#   npm run bench [-- detection|pods|cluster|response|response-pods|idle|appraisal|session|attestations|tree|replay|trust|enrolments|admission|verification ...]      some of them only
set -euo pipefail
. "$(dirname "$0")/lib.sh"
if [ "$(id -u)" != 0 ]; then
  trap hand_back EXIT
  as_root bash deploy/bench.sh "$@"
  exit
fi
echo 'Set-up'
bash deploy/setup.sh bench
readonly results=$HULLMARK_STATE/bench
mkdir -p "$results"
benches=("$@")
[ $# -gt 0 ] || benches=(detection idle appraisal session attestations tree replay trust enrolments admission verification)
failed=0

# bench TITLE NAME ARGUMENTS... : runs bench/NAME.ts and keeps what it prints.
bench() {
  local title=$1 name=$2
  shift 2
  printf '\n%s  (load %s)\n' "$title" "$(cut -d' ' -f1-3 /proc/loadavg)"
  if ! node "bench/$name.ts" "$@" 2>&1 | grep -v '^{'; then
    echo "  $name could not be measured"
    failed=1
  fi
}

{
  printf '%s, %s, %s cores, Linux %s, Node %s\n' "$(date -u +%FT%TZ)" "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -r)" "$(node --version)"
  for each in "${benches[@]}"; do
    case $each in
      detection) bench 'Detection' detection --json "$results/detection.json" ;;
      # Five minutes, so it is run when asked for.
      response) bench 'From a write to what is done about it' response --json "$results/response.json" ;;
      # These three want what deploy/testbed/go-tools.sh kubernetes builds, so they are run when asked for.
      response-pods) bench 'The same of pods' response --pods --json "$results/response-pods.json" ;;
      pods) bench 'Detection in pods' detection --pods --writes 200 --neighbours 10 --json "$results/detection-pods.json" ;;
      cluster) bench 'A cluster at rest' cluster-rest --json "$results/cluster-rest.json" ;;
      idle) bench 'At rest' idle --seconds 60 --json "$results/idle.json" ;;
      appraisal) bench 'Appraisal of a change' appraisal --json "$results/appraisal.json" ;;
      session) bench 'An attestation behind its transport' session --json "$results/session.json" ;;
      attestations) bench 'Attestations' attestations --nodes 60,150,300 --seconds 15 --json "$results/attestations.json" ;;
      tree)
        bench 'Tree measuring, warm' tree-measuring --rounds 3 --json "$results/tree-warm.json"
        bench 'Tree measuring, cold' tree-measuring --rounds 1 --cold --json "$results/tree-cold.json"
        ;;
      admission) bench 'Admission' admission --json "$results/admission.json" ;;
      verification) bench 'Verifying a signature' verification --json "$results/verification.json" ;;
      trust) bench 'Trust in a node' node-trust --json "$results/node-trust.json" ;;
      enrolments) bench 'Enrolments' enrolments --json "$results/enrolments.json" ;;
      replay)
        bench 'Replay of a layer' replay --rounds 3 --json "$results/replay.json"
        bench 'An image out of a registry' replay-image --rounds 3 --json "$results/replay-image.json"
        ;;
      *) echo "no such bench: $each" >&2; exit 2 ;;
    esac
  done
  exit "$failed"
} | tee "$results/results.txt"
