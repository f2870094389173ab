#!/usr/bin/env bash
# Runs the native tests against instrumented builds: address and undefined behaviour, then threads.
#
#   native/test-sanitizers.sh [address,undefined] [thread] [-- vitest arguments]
#
# Node itself is not instrumented: the runtime library is preloaded, leaks are not looked for (V8 frees nothing at exit), and what the
# thread sanitizer says of libuv, V8 and the C library alone is suppressed. Any report fails the run; a test that fails without one is tried once more, for the
# instrumented code is many times slower.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PWD/node_modules/.bin:$PATH

kinds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do kinds+=("$1"); shift; done
[ "${1:-}" = -- ] && shift
[ ${#kinds[@]} -gt 0 ] || kinds=(address,undefined thread)
# The sanitizers have an allocator of their own, so that what a test says of the C library's does not hold.
[ $# -gt 0 ] || set -- test/native test/property/tree --exclude test/native/memory.test.ts

status=0
for kind in "${kinds[@]}"; do
  addon=$PWD/native/$(HULLMARK_SANITIZE=$kind bash native/build.sh | tail -1 | sed 's|^native/||')
  case $kind in
    address*) library=libasan.so ;;
    thread) library=libtsan.so ;;
    undefined) library=libubsan.so ;;
    *) printf 'unknown sanitizer %s\n' "$kind" >&2; exit 2 ;;
  esac
  runtime=$("${CXX:-g++}" -print-file-name="$library")
  [ -e "$runtime" ] || { printf 'no %s: it comes with g++ (libgcc-*-dev)\n' "$library" >&2; exit 1; }
  reports=$(mktemp -d)
  printf '== %s\n' "$kind"
  HULLMARK_NATIVE=$addon LD_PRELOAD=$runtime \
    ASAN_OPTIONS="detect_leaks=0:log_path=$reports/asan:detect_stack_use_after_return=1:allocator_may_return_null=1" \
    UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan" \
    TSAN_OPTIONS="log_path=$reports/tsan:report_signal_unsafe=0:ignore_noninstrumented_modules=1:exitcode=0" \
    node node_modules/vitest/vitest.mjs run --config test/vitest.config.ts --testTimeout 600000 --retry 1 "$@" || status=1
  if [ -n "$(ls -A "$reports")" ]; then
    cat "$reports"/*
    status=1
  fi
  rm -rf "$reports"
done
exit $status
