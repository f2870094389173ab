#!/usr/bin/env bash
# Builds the programs that tests need and no distribution has in a usable version, from their released Go modules, into
# $HULLMARK_STATE/tools/bin. Cached by stamps: nothing is built twice, and by other checkouts of the same user neither: what was built is
# kept in $HULLMARK_BUILD_CACHE too (~/.cache/hullmark-build; empty: nowhere). Progress goes to standard output. Safe to run twice at once.
#
#   deploy/testbed/go-tools.sh [peers] [kubernetes] [gitops] [network-policy]    without an argument: the first two
#
#   peers        cosign of both major versions (cosign-v2, cosign-v3), test/interop-go's log client (logcheck), notation-go's
#                signer and verifier of test/interop-notary (notary), Grafana's schema of dashboards (dashboards), crane and
#                oras: about 7 minutes on two free cores
#   kubernetes   the parts of a cluster and kubectl as one program under their names, CoreDNS, Helm, the kinds of
#                OpenReports, the Prometheus Operator's PodMonitor, the sandbox's pause program, and containerd 2 with its shim: about 12 minutes
#   gitops       Flux's source-controller and kustomize-controller, Argo CD, and the kinds of both: for npm run gitops alone
#   network-policy   kube-router: for npm run network-policy alone
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly state=${HULLMARK_STATE:-$PWD/.hullmark}
readonly bin=$state/tools/bin
readonly cache=${HULLMARK_BUILD_CACHE-${HOME:+${XDG_CACHE_HOME:-$HOME/.cache}/hullmark-build}}
readonly go_version=1.26.8
readonly cosign_v2=v2.6.5 cosign_v3=v3.1.3 crane=v0.22.1 oras=v1.3.6
readonly containerd=v2.4.2
readonly kubernetes=v1.33.13 helm=v3.22.0 openreports=v0.2.1 prometheus_operator=v0.85.0

sets=("$@")
[ $# != 0 ] || sets=(peers kubernetes)
for set in "${sets[@]}"; do
  case $set in
    peers | kubernetes | gitops | network-policy) ;;
    *) echo "usage: deploy/testbed/go-tools.sh [peers] [kubernetes] [gitops] [network-policy]" >&2; exit 2 ;;
  esac
done

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
  if [ -x "$bin/$name" ] && [ "$(cat "$bin/$name.stamp" 2>/dev/null)" = "$stamp" ]; then
    keep "$name" "$stamp"
    return
  fi
  if take "$name" "$stamp"; then
    say "$name is at hand ($stamp)"
    return
  fi
  [ -n "${go:-}" ] || [ "$name" = pause ] || find_go
  say "building $name ($stamp)"
  local started=$SECONDS
  "$@" >"$state/tools/$name.log" 2>&1 || {
    tail -n 20 "$state/tools/$name.log" >&2
    exit 1
  }
  printf '%s' "$stamp" >"$bin/$name.stamp"
  say "$name built in $((SECONDS - started)) s"
  keep "$name" "$stamp"
}

# Of what a program kept for other checkouts was made: its stamp, this script with the flags in it, the architecture.
key() { printf '%s\n' "$1" "$(uname -m)" | cat - deploy/testbed/go-tools.sh | sha256sum | cut -c1-64; }

# take NAME STAMP: from what another checkout built.
take() {
  local from=$cache/$1 key
  key=$(key "$2")
  [ -n "$cache" ] && [ -O "$from" ] && [ "$(cat "$from/key" 2>/dev/null)" = "$key" ] || return 1
  # Looked at again afterwards: meanwhile another checkout may have kept its own.
  cp -a "$from/tools/." "$state/tools/" 2>/dev/null && [ "$(cat "$from/key" 2>/dev/null)" = "$key" ] && printf '%s' "$2" >"$bin/$1.stamp"
}

# keep NAME STAMP: for other checkouts, as a whole or not at all.
keep() {
  local new key
  key=$(key "$2")
  if [ -z "$cache" ] || [ "$(cat "$cache/$1/key" 2>/dev/null)" = "$key" ]; then return; fi
  # Of one that was killed.
  find "$cache" -maxdepth 1 -name '.new.*' -mmin +60 -exec rm -rf {} + 2>/dev/null || true
  if mkdir -p "$cache" 2>/dev/null && new=$(mktemp -d "$cache/.new.XXXXXX") && mkdir -p "$new/tools/bin" && cp -a "$bin/$1" "$new/tools/bin/" &&
    { [ ! -d "$state/tools/$1" ] || cp -a "$state/tools/$1" "$new/tools/"; } && echo "$key" >"$new/key" && rm -rf "${cache:?}/$1" && mv -T "$new" "$cache/$1"; then return; fi
  say "$1 is not kept for other checkouts: $cache cannot be written"
  rm -rf "${new:-}"
}

# `go install` is the one command that builds a released main package by version; it names the program after the last element.
# install MODULE-PATH@VERSION NAME
install() {
  local built=${1%@*}
  GOBIN=$state/tools/new "$go" install -ldflags='-s -w' "$1"
  mv "$state/tools/new/${built##*/}" "$bin/$2"
}

# build_folder FOLDER NAME [LINKER FLAGS]: a main package of this repository.
build_folder() { (cd "$1" && "$go" build -mod=readonly -buildvcs=false -ldflags="-s -w ${3:-}" -o "$bin/$2" .); }

# build_released FOLDER PACKAGE NAME: a main package of a released module, at the versions that the module in the folder pins: its own pins may not be
# what `go install` takes (replace directives).
build_released() { (cd "$1" && "$go" build -mod=readonly -buildvcs=false -ldflags='-s -w' -o "$bin/$3" "$2"); }

# kinds FOLDER NAME MODULE/FOLDER... : definitions of kinds, of released modules at the versions that the module in the folder pins, as one file.
kinds() {
  local folder=$1 name=$2 each module file there
  shift 2
  for each in "$@"; do
    module=$(printf '%s' "$each" | sed -E 's#/(config|manifests)/.*##')
    there=$(cd "$folder" && "$go" mod download -json "$module" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
    for file in "$there${each#"$module"}"/*.yaml; do
      # Of folders that are applied by kustomize.
      [ "${file##*/}" = kustomization.yaml ] || { echo ---; cat "$file"; }
    done
  done >"$bin/$name"
  chmod 755 "$bin/$name"
}

# module_file MODULE-PATH@VERSION FILE NAME: a file of a released module.
module_file() {
  local folder
  folder=$(cd / && "$go" mod download -json "$1" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
  cp "$folder/$2" "$bin/$3"
  chmod 755 "$bin/$3"
}

sources() { echo "sources $(cat "$1"/* | sha256sum | cut -c1-16)"; }

peers() {
  # The small ones first: their tests need not wait for cosign.
  build logcheck "$(sources test/interop-go)" build_folder test/interop-go logcheck
  build notary "$(sources test/interop-notary)" build_folder test/interop-notary notary
  build dashboards "$(sources test/interop-grafana)" build_folder test/interop-grafana dashboards
  build crane "github.com/google/go-containerregistry $crane" install github.com/google/go-containerregistry/cmd/crane@$crane crane
  build oras "oras.land/oras $oras" install oras.land/oras/cmd/oras@$oras oras
  build cosign-v2 "github.com/sigstore/cosign/v2 $cosign_v2" install github.com/sigstore/cosign/v2/cmd/cosign@$cosign_v2 cosign-v2
  build cosign-v3 "github.com/sigstore/cosign/v3 $cosign_v3" install github.com/sigstore/cosign/v3/cmd/cosign@$cosign_v3 cosign-v3
}

kubernetes() {
  local from=deploy/testbed/kubernetes version=k8s.io/component-base/version flags part
  flags="-X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=33 -X $version.gitTreeState=clean"
  flags+=" -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"
  build kubernetes "$(sources $from/go)" build_folder $from/go kubernetes "$flags"
  for part in kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet kubectl; do ln -sfn kubernetes "$bin/$part"; done
  build coredns "$(sources $from/coredns)" build_folder $from/coredns coredns
  build helm "helm.sh/helm/v3 $helm" install helm.sh/helm/v3/cmd/helm@$helm helm
  build containerd-2 "github.com/containerd/containerd/v2 $containerd" containerd_2
  build openreports.yaml "github.com/openreports/reports-api $openreports" module_file github.com/openreports/reports-api@$openreports config/install.yaml openreports.yaml
  build podmonitors.yaml "github.com/prometheus-operator/prometheus-operator $prometheus_operator" module_file \
    github.com/prometheus-operator/prometheus-operator@$prometheus_operator example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml podmonitors.yaml
  build pause "$(sha256sum <$from/pause.c | cut -c1-16)" "${CC:-cc}" -O2 -static -s -o "$bin/pause" $from/pause.c
}

# In a folder of their own, under the names by which they find each other.
containerd_2() {
  local part
  for part in containerd containerd-shim-runc-v2; do install github.com/containerd/containerd/v2/cmd/$part@$containerd $part; done
  mkdir -p "$state/tools/containerd-2"
  mv "$bin"/containerd{,-shim-runc-v2} "$state/tools/containerd-2/"
  ln -sfn ../containerd-2/containerd "$bin/containerd-2"
}

gitops() {
  local from=deploy/testbed/gitops
  build source-controller "$(sources $from/flux)" build_released $from/flux github.com/fluxcd/source-controller source-controller
  build kustomize-controller "$(sources $from/flux)" build_released $from/flux github.com/fluxcd/kustomize-controller kustomize-controller
  build flux-kinds.yaml "$(sources $from/flux)" kinds $from/flux flux-kinds.yaml \
    github.com/fluxcd/source-controller/config/crd/bases github.com/fluxcd/kustomize-controller/config/crd/bases
  build argocd "$(sources $from/argocd)" build_released $from/argocd github.com/argoproj/argo-cd/v3/cmd argocd
  build argocd-kinds.yaml "$(sources $from/argocd)" kinds $from/argocd argocd-kinds.yaml github.com/argoproj/argo-cd/v3/manifests/crds
  for part in argocd-application-controller argocd-repo-server; do ln -sfn argocd "$bin/$part"; done
}

network-policy() {
  local from=deploy/testbed/kubernetes/kube-router
  build kube-router "$(sources $from)" build_released $from github.com/cloudnativelabs/kube-router/v2/cmd/kube-router kube-router
}

for set in "${sets[@]}"; do "$set"; done
# Module and build caches are 5 GB; the programs are what is kept.
[ -n "${HULLMARK_KEEP_GO_CACHE:-}" ] || rm -rf "$state/go"
