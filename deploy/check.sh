#!/usr/bin/env bash
# The one static gate (npm run check): types, lint and format, import rules, unused code and dependencies, the protocol's lint,
# generated code up to date, shell scripts that parse. Runs all of them and fails when one does. About half a minute cold.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
# On a fresh clone the tools are not there yet.
[ -x node_modules/.bin/node ] || bash deploy/setup.sh npm

generated_is_current() {
  local fresh status=0
  fresh=$(mktemp -d)
  buf generate proto -o "$fresh"
  diff -r "$fresh/proto/gen" proto/gen || status=1
  rm -rf "$fresh"
  [ "$status" = 0 ] || echo 'generated code is old: npm run generate'
  return "$status"
}

# The cruiser parses with swc; its hint that no TypeScript compiler of its liking is installed is about a parser that is not used.
import_rules() {
  local status=0 output
  output=$(depcruise --config .dependency-cruiser.cjs proto native daemon capture agent actuator verifier cli dashboard test deploy $(ls -d bench/*.ts 2>/dev/null) 2>&1) || status=$?
  printf '%s\n' "$output" | sed '/missing-tsc-transpiler/,$d'
  # Were the sources not parsed at all, no rule could be broken.
  grep -Eq '[1-9][0-9]{2,} modules' <<<"$output" || { echo 'fewer than 100 modules were seen'; return 1; }
  return "$status"
}

scripts_parse() {
  local script
  git ls-files '*.sh' .ci/run | while read -r script; do bash -n "$script"; done
}

failed=0
check() { step "$@" || failed=$((failed + 1)); }
check 'types (tsc -b)' tsc -b
check 'lint and format (biome)' biome check --error-on-warnings .
check 'import rules (dependency-cruiser)' import_rules
check 'unused code and dependencies (knip)' knip --no-progress --no-config-hints
check 'protocol (buf lint)' buf lint proto
check 'generated code is current' generated_is_current
check 'shell scripts parse' scripts_parse
check 'lock file is complete' node deploy/lock-platforms.ts --check
if [ "$failed" != 0 ]; then
  echo "check: $failed failed"
  exit 1
fi
