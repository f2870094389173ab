#!/usr/bin/env bash
# npm run gitops [-- flux|argocd]: Flux and Argo CD themselves, built from their released Go modules, deploy from a repository to a real cluster what
# policy does not trust. Not part of npm test: building them takes longer than all of that.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
tool=${1:-}
case $tool in
  '' | flux | argocd) ;;
  *) echo 'usage: npm run gitops [-- flux|argocd]' >&2; exit 2 ;;
esac
echo 'Set-up'
bash deploy/setup.sh gitops
nice -n 5 bash deploy/testbed/go-tools.sh peers kubernetes gitops
trap hand_back EXIT
as_root node test/e2e/images/main.ts prepare
as_root vitest run --config test/vitest.gitops.config.ts ${tool:+"test/gitops/$tool.test.ts"}
