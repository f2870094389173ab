#!/usr/bin/env bash
# npm run network-policy: kube-router, built from its released Go module, enforces NetworkPolicies on a real cluster: a changed pod is isolated there, and the
# chart is installed with its own.
# Not part of npm test: it rests on one network plugin of many.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
echo 'Set-up'
bash deploy/setup.sh network-policy
nice -n 5 bash deploy/testbed/go-tools.sh peers kubernetes network-policy
trap hand_back EXIT
as_root node test/e2e/images/main.ts prepare
as_root vitest run --config test/vitest.network-policy.config.ts
