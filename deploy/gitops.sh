#!/usr/bin/env bash
# npm run gitops: Flux itself, built from its released Go modules, deploys from a repository to a real cluster what policy does not trust.
# Not part of npm test: it takes as long to build as the cluster.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ $# = 0 ] || { echo 'usage: npm run gitops' >&2; exit 2; }
echo 'Set-up'
bash deploy/setup.sh gitops
nice -n 5 bash deploy/testbed/go-tools.sh peers kubernetes gitops
trap hand_back EXIT
as_root node test/e2e/images/main.ts prepare
as_root vitest run --config test/vitest.gitops.config.ts
