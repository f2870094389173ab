#!/usr/bin/env bash
# The tests (npm test): set-up, then every suite on real parts. The last line is `N passed, N failed`.
#
#   npm test                 what every change has to pass (the gate of continuous integration)
#   npm run test:long        all of it and the long tests (test/e2e/long.ts): before a release, and after changes to what they try
#
# While the Go programs that Hullmark is held against are built in the background (once a machine: about 20 minutes), the suites that do not
# need them run; the suites on clusters run beside all others. With CI=true a skipped test counts as failed, and a second try is cut where it would not end in time.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

long=
for argument in "$@"; do
  case $argument in
    --long) long=1 ;;
    *) echo "usage: npm test [-- --long]" >&2; exit 2 ;;
  esac
done
# Set by nothing else, so that what ran is what was asked for.
export HULLMARK_LONG=$long
readonly results=$HULLMARK_STATE/results
# Beside all else; npm run soak takes longer.
export HULLMARK_SOAK_MINUTES=${HULLMARK_SOAK_MINUTES:-10}
started=$SECONDS
suites=()

# The end, however it comes: what still runs in the background goes, and so does what test beds left.
background=()
finish() {
  local job
  for job in "${background[@]}"; do as_root bash -c "kill -TERM -- -$job" 2>/dev/null || true; done
  as_root node deploy/testbed/main.ts sweep >/dev/null 2>&1 || true
  hand_back || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND... : in the background, in its own process group, output to a log.
start() {
  local name=$1
  shift
  set -m
  "$@" >"$logs/$name.log" 2>&1 </dev/null &
  set +m
  background+=($!)
  printf -v "job_${name//-/_}" '%s' "$!"
}

# finished TITLE JOB: waits for what `start` started and records it as one test.
finished() {
  local since=$SECONDS job=job_${2//-/_} status=0
  wait "${!job}" || status=$?
  if [ "$status" = 0 ]; then
    printf '  %s✓%s %s (waited %s s)\n' "$green" "$plain" "$1" "$((SECONDS - since))"
  else
    printf '  %s✗%s %s (exit %s)\n' "$red" "$plain" "$1" "$status"
    tail -n 40 "$logs/$2.log" | sed 's/^/      /'
  fi
  record "$2" "$status" "$logs/$2.log"
}

# vitest_suite NAME SECONDS ARGUMENTS... : one run of the test runner, its report kept for the sum.
vitest_suite() {
  local name=$1 seconds=$2 status=0 report=$results/$1.json
  shift 2
  rm -f "$report" "$results/$name.told"
  as_root env HULLMARK_TOLD="$results/$name.told" timeout --kill-after=30 "$seconds" vitest run "$@" \
    --reporter=default --reporter=./deploy/testing/failure-reporter.ts --reporter=json --outputFile.json="$report" || status=$?
  [ "$status" != 124 ] || echo "$name: not done after $seconds s"
  echo "$status" >"$results/$name.exit"
}

# second_try NAME CONFIG [SECONDS]: files of that suite with a failure run once more, each test of them, as they would alone. What passes then passed, but is named as
# flaky in the sum, with how it failed; more than a few failed files are no matter of luck and are not tried again. Continuous integration ends a gate that takes 90 minutes
# without its sum, which would tell of nothing: what cannot end before that is not tried.
second_try() {
  local name=$1 config=$2 seconds=${3:-900} left=$((5000 - (SECONDS - started))) files
  mapfile -t files < <(node deploy/testing/failed-files.ts "$results/$name.json")
  if [ ${#files[@]} = 0 ] || [ ${#files[@]} -gt 4 ]; then return; fi
  if [ -n "${CI:-}" ] && [ "$left" -lt "$seconds" ]; then seconds=$left; fi
  if [ "$seconds" -lt 60 ]; then echo "Not once more, for want of time: ${files[*]##*/}"; return; fi
  echo; echo "Once more: ${files[*]##*/}"
  vitest_suite "$name-again" "$seconds" --config "$config" "${files[@]}"
  # Not green as a whole: the first try stands.
  [ "$(cat "$results/$name-again.exit")" = 0 ] || as_root rm -f "$results/$name-again.json"
}

# title TEXT: of what runs from now on, after how long, and how busy the processors were until then.
title() {
  local idle
  # user nice system idle iowait irq softirq steal, in hundredths of a second of all processors.
  idle=$(awk '/^cpu / { print $5 + $6; exit }' /proc/stat)
  printf '\n%s (after %s s, processors busy for %s %%)\n' "$1" "$((SECONDS - started))" "$((100 - (idle - idle_before) / (SECONDS - started + 1) / $(nproc)))"
}
idle_before=$(awk '/^cpu / { print $5 + $6; exit }' /proc/stat)

# record NAME EXIT [FILE]: FILE is vitest's report (NAME.json), or the log of what is one check.
record() { suites+=("$1:$2:${3:-}"); }
# record_suite NAME CONFIG [SECONDS]
record_suite() {
  second_try "$@"
  record "$1" "$(cat "$results/$1.exit" 2>/dev/null || echo 1)" "$results/$1.json"
}

echo 'Set-up'
rm -rf "$results" 2>/dev/null || as_root rm -rf "$results"
mkdir -p "$results"
if ! bash deploy/setup.sh test; then
  record set-up 1
  node deploy/testing/summary.ts "${suites[@]}" || exit 1
fi
[ -z "${HULLMARK_CHECK_EXIT:-}" ] || record check "$HULLMARK_CHECK_EXIT" "$logs/check.log"
as_root node deploy/testbed/main.ts sweep
as_root node deploy/testing/leftovers.ts >"$results/before" || sed 's/^/  ⚠ there before these tests, not of them: /' "$results/before"

# A container's memory cgroup lives on, unseen, while the kernel caches a page or a name that it was charged for. Of a thousand such the kernel's own work took half of the processors'
# time, and the suites several times as long.
forget_ended_cgroups() {
  while true; do
    [ "$(awk '/^memory/ { print $3 }' /proc/cgroups)" -le 300 ] || as_root sh -c 'echo 3 >/proc/sys/vm/drop_caches' || true
    sleep 20
  done
}
start cgroups forget_ended_cgroups
start go-tools bash deploy/testbed/go-tools.sh peers
start images as_root node test/e2e/images/main.ts prepare
start earlier as_root nice -n 5 node deploy/images/build-earlier.ts
start sanitizers as_root nice -n 5 bash native/test-sanitizers.sh address,undefined
# The longest ways of all, so they begin as soon as the peers are built, whose tests come first. They wait more than they compute: two clusters at once, beside the other suites,
# and the system on Docker once they are gone. What stands in both ways ends at about the same time.
readonly on_docker_acting=(test/e2e/{actuator,ladder}.test.ts)
readonly containerd_2=$HULLMARK_STATE/tools/containerd-2
cluster_suites() {
  local job
  for job in "$job_go_tools" "$job_images" "$job_earlier"; do
    # No child of this shell's: how it ended is told where it was started.
    while kill -0 "$job" 2>/dev/null; do sleep 1; done
  done
  bash deploy/testbed/go-tools.sh kubernetes || return
  one_cluster >"$logs/kubernetes-detect.log" 2>&1 &
  vitest_suite kubernetes 3600 --config test/vitest.kubernetes.config.ts --exclude 'test/e2e/kubernetes/{detect,cri,faults,runtime-contract}.test.ts'
  vitest_suite e2e 3300 --config test/vitest.e2e.config.ts "${on_docker_acting[@]/#/--exclude=}" >"$logs/e2e.log" 2>&1
  wait
}
one_cluster() {
  vitest_suite kubernetes-detect 3600 --config test/vitest.kubernetes.config.ts test/e2e/kubernetes/detect.test.ts
  vitest_suite kubernetes-node 1800 --config test/vitest.kubernetes.config.ts test/e2e/kubernetes/{cri,faults,runtime-contract}.test.ts
  vitest_suite e2e-acting 2400 --config test/vitest.e2e.config.ts "${on_docker_acting[@]}" >"$logs/e2e-acting.log" 2>&1
  [ -n "$long" ] || return 0
  HULLMARK_ENGINE_BIN=$containerd_2 vitest_suite containerd-2 900 --config test/vitest.kubernetes.config.ts test/e2e/kubernetes/{runtime-contract,cri}.test.ts
}
start kubernetes cluster_suites

title 'Suites that need no built peer'
vitest_suite base 3300 --config test/vitest.config.ts --exclude 'test/integration/**'
record_suite base test/vitest.config.ts

finished 'test images' images
if [ -n "$long" ]; then start soak vitest_suite soak 2700 --config test/vitest.soak.config.ts; fi

finished 'cosign and other Go programs' go-tools
finished 'the earlier commit that is upgraded from' earlier
finished 'native tests with address and undefined-behaviour sanitizers' sanitizers

title 'Integration'
vitest_suite integration 3300 --config test/vitest.config.ts test/integration
record_suite integration test/vitest.config.ts

title 'On a real cluster, and end to end on Docker'
wait "$job_kubernetes" || true
cat "$logs/kubernetes-detect.log" "$logs/kubernetes.log" "$logs/e2e.log" "$logs/e2e-acting.log" || true
record_suite e2e test/vitest.e2e.config.ts
record_suite e2e-acting test/vitest.e2e.config.ts
record_suite kubernetes-detect test/vitest.kubernetes.config.ts
record_suite kubernetes test/vitest.kubernetes.config.ts
record_suite kubernetes-node test/vitest.kubernetes.config.ts
if [ -n "$long" ]; then
  title 'On containerd 2'
  export HULLMARK_ENGINE_BIN=$containerd_2
  record_suite containerd-2 test/vitest.kubernetes.config.ts
  vitest_suite containerd-2-layers 600 --config test/vitest.config.ts test/integration/replay-engines.test.ts
  record_suite containerd-2-layers test/vitest.config.ts
  unset HULLMARK_ENGINE_BIN
fi

title 'On cgroup version 2'
export HULLMARK_CGROUP=2
vitest_suite cgroup-2 300 --config test/vitest.config.ts test/integration/container-runtime-docker.test.ts
record_suite cgroup-2 test/vitest.config.ts
unset HULLMARK_CGROUP

if [ -n "$long" ]; then
  title 'Soak'
  wait "$job_soak" || true
  tail -n 60 "$logs/soak.log"
  record_suite soak test/vitest.soak.config.ts 1800
fi

title Sum
as_root node deploy/testbed/main.ts sweep
step 'nothing left behind' as_root node deploy/testing/leftovers.ts "$results/before" && status=0 || status=$?
record leftovers "$status" "$logs/nothing-left-behind.log"
[ -n "$long" ] || echo '  Left to npm run test:long: the long tests on Docker and on clusters, containerd 2, the soak.'
node deploy/testing/summary.ts ${CI:+--count-skipped} "${suites[@]}"
