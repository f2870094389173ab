#!/usr/bin/env bash
# Builds the Go programs that tests hold Hullmark against, from their released Go modules: cosign of both major versions, and
# the transparency-log client of test/interop-go, and notation-go's signer and verifier of test/interop-notary. They land in
# $HULLMARK_STATE/tools/bin as cosign-v2, cosign-v3, logcheck and notary.
# Cached by a stamp: about 6 minutes on two free cores the first time, nothing after. Progress goes to standard output. Safe to
# run twice at once.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly state=${HULLMARK_STATE:-$PWD/.hullmark}
readonly bin=$state/tools/bin
readonly go_version=1.26.8
readonly cosign_v2=v2.6.5 cosign_v3=v3.1.3

mkdir -p "$bin" "$state/go"
exec 9>"$state/tools/lock"
flock 9

# Everything Go writes stays in the state folder and can be removed by rm.
export GOPATH=$state/go GOCACHE=$state/go/cache GOFLAGS="-modcacherw -trimpath" CGO_ENABLED=0 GOTELEMETRY=off
unset GOROOT GOBIN

say() { printf '  go tools: %s\n' "$*"; }

# Sets $go to a Go of at least $go_version: the machine's own, or the toolchain that is itself a Go module.
find_go() {
  go=$(command -v go || ls /usr/local/go/bin/go /usr/lib/go/bin/go 2>/dev/null | head -n1 || true)
  if [ -z "$go" ]; then
    echo "go is missing: install the package golang-go, or run deploy/setup.sh" >&2
    exit 1
  fi
  local have
  have=$(cd / && GOTOOLCHAIN=local "$go" env GOVERSION)
  if [ "$(printf '%s\n%s\n' "go$go_version" "$have" | sort -V | head -n1)" = "go$go_version" ]; then
    export GOTOOLCHAIN=local
    return
  fi
  # Go before 1.21 cannot switch by itself but can download the module; module files carry no execute bit.
  local arch
  arch=$("$go" env GOARCH)
  say "fetching Go $go_version (the machine has $have)"
  local module=golang.org/toolchain@v0.0.1-go$go_version.linux-$arch folder
  (cd / && GOFLAGS=-modcacherw GOTOOLCHAIN=local "$go" mod download "$module")
  folder=$GOPATH/pkg/mod/$module
  chmod -R u+w,a+x "$folder/bin" "$folder/pkg/tool"
  go=$folder/bin/go
  export GOTOOLCHAIN=local
}

# build NAME STAMP ARGUMENTS... : `go build`s into $bin/NAME unless its stamp says that it is there already.
build() {
  local name=$1 stamp=$2
  shift 2
  if [ -x "$bin/$name" ] && [ "$(cat "$bin/$name.stamp" 2>/dev/null)" = "$stamp" ]; then return; fi
  [ -n "${go:-}" ] || find_go
  say "building $name ($stamp)"
  local started=$SECONDS
  "$@" >"$state/tools/$name.log" 2>&1 || {
    tail -n 20 "$state/tools/$name.log" >&2
    exit 1
  }
  printf '%s' "$stamp" >"$bin/$name.stamp"
  say "$name built in $((SECONDS - started)) s"
}

# `go install` is the one command that builds a released main package by version; it names the program after the last element.
install_cosign() {
  GOBIN=$state/tools/new "$go" install -ldflags='-s -w' "$1"
  mv "$state/tools/new/cosign" "$bin/$2"
}

build_logcheck() { (cd test/interop-go && "$go" build -mod=readonly -ldflags='-s -w' -o "$bin/logcheck" .); }
build_notary() { (cd test/interop-notary && "$go" build -mod=readonly -ldflags='-s -w' -o "$bin/notary" .); }

# The small ones first: their tests need not wait for cosign.
build logcheck "sources $(cat test/interop-go/* | sha256sum | cut -c1-16)" build_logcheck
build notary "sources $(cat test/interop-notary/* | sha256sum | cut -c1-16)" build_notary
build cosign-v2 "github.com/sigstore/cosign/v2 $cosign_v2" install_cosign github.com/sigstore/cosign/v2/cmd/cosign@$cosign_v2 cosign-v2
build cosign-v3 "github.com/sigstore/cosign/v3 $cosign_v3" install_cosign github.com/sigstore/cosign/v3/cmd/cosign@$cosign_v3 cosign-v3
# Module and build caches are 5 GB; the programs are what is kept.
[ -n "${HULLMARK_KEEP_GO_CACHE:-}" ] || rm -rf "$state/go"
