#!/usr/bin/env bash
# Makes this machine and checkout ready: system packages by name, npm packages by the lock file, the native addon, dist/.
#
#   deploy/setup.sh [test|demo|bench|gitops|network-policy|build|npm]   test (default) needs most packages, gitops and network-policy a few more, build the fewest; npm stops after the npm packages
#
# Repeatable: what is there is not touched, nothing is upgraded or removed. Services that a newly installed package brings
# (Docker, containerd, the registry, Alertmanager, etcd) are neither started nor enabled: Hullmark starts its own from its state
# folder. Exit code 2 with a plain list where packages cannot be installed by apt.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

readonly purpose=${1:-test}

# What is looked for → the Debian and Ubuntu package that has it. A file starts with /, anything else is a command.
build_needs=(/usr/include/tss2/tss2_esys.h:libtss2-dev g++:g++)
demo_needs=(
  dockerd:docker.io docker:docker.io containerd:containerd runc:runc
  docker-registry:docker-registry prometheus-alertmanager:prometheus-alertmanager
  swtpm:swtpm swtpm_setup:swtpm-tools swtpm_localca:swtpm-tools
  ip:iproute2 setcap:libcap2-bin setfattr:attr unshare:util-linux nsenter:util-linux flock:util-linux
)
test_needs=(ccache:ccache promtool:prometheus debootstrap:debootstrap python3:python3-minimal skopeo:skopeo umoci:umoci setfacl:acl jq:jq xz:xz-utils openssl:openssl go:golang-go
  etcd:etcd-server /usr/lib/cni/ptp:containernetworking-plugins iptables:iptables conntrack:conntrack
  systemd-analyze:systemd mkfs.ext4:e2fsprogs mount:mount softhsm2-util:softhsm2 rsyslogd:rsyslog /usr/share/doc/rsyslog-openssl:rsyslog-openssl chromium:chromium docker-compose:docker-compose)

# A repository, and what Argo CD keeps its answers in.
gitops_needs=(git:git redis-server:redis-server)

# What kube-router calls.
network_policy_needs=(ipset:ipset)

# What the benches measure against, beyond what every Debian has.
bench_needs=(aide:aide)

# Newly installed units that apt would have enabled for the next boot.
readonly units='docker.service docker.socket containerd.service docker-registry.service prometheus.service prometheus-node-exporter.service prometheus-alertmanager.service swtpm-localca.service rsyslog.service etcd.service etcd2.service redis-server.service'

has() {
  case $1 in
    /*) [ -e "$1" ] ;;
    go) command -v go >/dev/null || [ -x /usr/local/go/bin/go ] ;;
    *) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] ;;
  esac
}

missing_packages() {
  local needs=("${build_needs[@]}") need
  [ "$purpose" = build ] || needs+=("${demo_needs[@]}")
  case $purpose in
    bench) needs+=("${bench_needs[@]}") ;;
    test) needs+=("${test_needs[@]}") ;;
    gitops) needs+=("${test_needs[@]}" "${gitops_needs[@]}") ;;
    network-policy) needs+=("${test_needs[@]}" "${network_policy_needs[@]}") ;;
  esac
  for need in "${needs[@]}"; do
    if ! has "${need%%:*}"; then echo "${need#*:}"; fi
  done | sort -u
}

# Run as root. A policy-rc.d that answers 101 keeps maintainer scripts from starting daemons; one that is there already stays.
# --no-remove: rather fail than replace a Docker that was installed from elsewhere.
install_packages() {
  local policy=/usr/sbin/policy-rc.d before unit
  before=$(list_units)
  if [ ! -e "$policy" ]; then
    # shellcheck disable=SC2064
    trap "rm -f '$policy'" EXIT
    printf '#!/bin/sh\n# Put here by Hullmark deploy/setup.sh for the time of one apt-get run.\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  local apt=(apt-get install -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300)
  if ! "${apt[@]}" "$@"; then
    apt-get update
    "${apt[@]}" "$@"
  fi
  for unit in $(comm -13 <(echo "$before") <(list_units)); do
    # Works without a running systemd too; where none is installed, nothing is started at boot by a unit.
    if command -v systemctl >/dev/null; then systemctl disable --quiet "$unit" || true; fi
  done
}

list_units() {
  local unit
  for unit in $units; do
    if [ -e "/lib/systemd/system/$unit" ] || [ -e "/etc/systemd/system/$unit" ]; then echo "$unit"; fi
  done | sort
}

system_packages() {
  local missing
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} = 0 ]; then return; fi
  if ! command -v apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; }; then
    echo "These are missing, and this is no Debian or Ubuntu with root or sudo. Install what your system calls:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 2
  fi
  step "system packages: ${missing[*]}" as_root bash "$repository/deploy/setup.sh" --install "${missing[@]}"
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} != 0 ]; then
    echo "still missing after apt-get: ${missing[*]}" >&2
    exit 2
  fi
}

# Busybox is unpacked, not installed: the static package would replace the one that the system's initramfs may use.
static_busybox() {
  local busybox=$HULLMARK_STATE/cache/busybox
  if [ -x "$busybox" ]; then return; fi
  mkdir -p "$HULLMARK_STATE/cache"
  local found
  for found in /bin/busybox /usr/bin/busybox; do
    if [ -x "$found" ] && ! ldd "$found" >/dev/null 2>&1; then
      cp "$found" "$busybox"
      return
    fi
  done
  step 'busybox-static (unpacked, not installed)' bash -c '
    set -e
    folder=$(mktemp -d "$HULLMARK_STATE/cache/busybox.XXXXXX")
    trap "rm -rf \"$folder\"" EXIT
    cd "$folder"
    apt-get download busybox-static || { '"$(declare -f as_root)"'; as_root apt-get update; apt-get download busybox-static; }
    dpkg-deb -x busybox-static_*.deb root
    cp "$(find root -path "*/bin/busybox" -type f)" "$HULLMARK_STATE/cache/busybox"'
}

# Prints why node_modules does not match the lock file, or nothing. Runs on any Node from 20 on, before there is ours.
npm_staleness() {
  node -e '
    const { existsSync, readFileSync } = require("node:fs");
    const read = (path) => { try { return JSON.parse(readFileSync(path, "utf8")).packages; } catch { return undefined; } };
    const wanted = read("package-lock.json"), found = read("node_modules/.package-lock.json");
    if (!found) console.log("node_modules is not there");
    else for (const [path, entry] of Object.entries(wanted)) {
      if (!path.includes("node_modules/")) continue;
      // A workspace that came later.
      if (entry.link && !existsSync(path)) { console.log(path + " is not there"); break; }
      if (entry.link) continue;
      // Parts for other platforms; that ours came is seen by node itself being there.
      if ((entry.optional || entry.devOptional) && !found[path]) continue;
      if (found[path]?.version !== entry.version) { console.log(path + " is not " + entry.version); break; }
    }'
}

npm_packages() {
  local why
  why=$(npm_staleness)
  if [ -z "$why" ] && [ -x node_modules/.bin/node ]; then return; fi
  # Dependencies need no install scripts: prebuilt addons are inside their packages.
  step 'npm packages (npm ci)' npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  # The shell remembers the Node that it found before there was ours.
  hash -r
}

if [ "$purpose" = --install ]; then
  shift
  install_packages "$@"
  exit
fi
case $purpose in test | demo | bench | gitops | network-policy | build | npm) ;; *) echo "usage: deploy/setup.sh [test|demo|bench|gitops|network-policy|build|npm]" >&2; exit 2 ;; esac

# One at a time in a checkout. Any file of it that everybody may read will do as the lock.
if command -v flock >/dev/null; then
  exec {lock}<package.json
  flock --nonblock "$lock" || { echo '  … another set-up of this checkout is running: waiting for it'; flock "$lock"; }
fi

if ! node -e 'process.exit(+process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null; then
  echo "Node 20 or newer and npm are needed to start with (they fetch the Node 24 that Hullmark runs on)" >&2
  exit 2
fi
npm_packages
if [ "$purpose" = npm ]; then exit; fi
system_packages
[ "$purpose" = build ] || static_busybox
step 'native addon' bash native/build.sh
step 'PKCS#11 addon' bash native/pkcs11.sh
step 'dist/' node deploy/bundle.ts
