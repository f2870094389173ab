#!/usr/bin/env bash
# Builds native/build/hullmark.node with g++ alone: no node-gyp, no download.
#
# Incremental: an object is rebuilt when its source, a header that it includes (from the compiler's dependency files) or the
# flags changed. Safe to run twice at once (flock).
#
#   HULLMARK_SANITIZE=address|undefined|thread|address,undefined   an instrumented build in native/build/<name>/
#   HULLMARK_PARTS="tree tpm"                                      these parts alone, in native/build/<parts>/
#   CXX=clang++                                                    another compiler
#   HULLMARK_BUILD_JOBS=N                                          parallel compilations (default: cores)
#   HULLMARK_BUILD_CACHE=DIR                                       where ccache, if it is installed, keeps objects for other checkouts
#                                                                  (default: ~/.cache/hullmark-build; empty: nowhere)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() { printf 'native/build.sh: %s\n' "$1" >&2; exit 1; }

compiler=${CXX:-g++}
command -v "$compiler" >/dev/null || fail "no $compiler: apt-get install g++"
jobs=${HULLMARK_BUILD_JOBS:-$(nproc 2>/dev/null || echo 2)}
sanitize=${HULLMARK_SANITIZE:-}
out=build
case "$sanitize" in
  '') ;;
  address | undefined | thread | address,undefined) out=build/${sanitize//,/-} ;;
  *) fail "HULLMARK_SANITIZE=$sanitize: want address, undefined, thread or address,undefined" ;;
esac

parts=${HULLMARK_PARTS:-}
sources=(src)
if [ -n "$parts" ]; then
  out+=/${parts// /-}
  sources=(src/addon.cc src/support)
  for part in $parts; do
    [ -d "src/$part" ] || fail "HULLMARK_PARTS: no src/$part"
    sources+=("src/$part")
  done
fi

# The headers of an npm package, wherever the workspace hoisted it.
package_directory() {
  local at=$PWD
  while :; do
    [ -d "$at/node_modules/$1" ] && { printf '%s' "$at/node_modules/$1"; return; }
    [ "$at" = / ] && fail "no $1 in node_modules: run npm ci first"
    at=$(dirname "$at")
  done
}
napi_c=$(package_directory node-api-headers)/include
napi_cpp=$(package_directory node-addon-api)
[ -e "$napi_c/node_api.h" ] || fail "no node_api.h in $napi_c: run npm ci"
[ -e "$napi_cpp/napi.h" ] || fail "no napi.h in $napi_cpp: run npm ci"

has_header() { printf '#include <%s>\n' "$1" | "$compiler" -E -x c++ - >/dev/null 2>&1; }
for header in linux/openat2.h linux/fanotify.h sys/stat.h; do
  has_header "$header" || fail "no <$header>: apt-get install libc6-dev linux-libc-dev"
done
libraries=(-pthread -ldl)
if compgen -G 'src/tpm/*.cc' >/dev/null && { [ -z "$parts" ] || [[ " $parts " == *' tpm '* ]]; }; then
  has_header tss2/tss2_esys.h || fail "no <tss2/tss2_esys.h>: apt-get install libtss2-dev"
  libraries+=(-ltss2-esys -ltss2-tctildr -ltss2-rc -ltss2-mu)
fi

# No C++ exception may leave a callback: it would end the process. Whatever one throws becomes a JavaScript error, and in an environment that is being
# terminated, where nothing can be thrown any more, it is dropped.
exceptions=(-DNODE_ADDON_API_CPP_EXCEPTIONS -DNODE_ADDON_API_CPP_EXCEPTIONS_ALL -DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
flags=(-std=c++20 -O2 -fPIC -fvisibility=hidden -fstack-protector-strong -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
  -DNAPI_VERSION=9 "${exceptions[@]}" -Wall -Wextra -Wno-missing-field-initializers -Isrc
  -isystem "$napi_c" -isystem "$napi_cpp")
if [ -n "$sanitize" ]; then
  flags+=(-g -fno-omit-frame-pointer "-fsanitize=$sanitize")
else
  flags+=(-D_FORTIFY_SOURCE=2 -g1)
fi

mkdir -p "$out/obj"
exec 9>"$out/lock"
flock 9

# Another checkout's objects serve here too: no path of this one is in them.
flags+=("-ffile-prefix-map=$(dirname "$PWD")=.")
launcher=()
cache=${HULLMARK_BUILD_CACHE-${HOME:+${XDG_CACHE_HOME:-$HOME/.cache}/hullmark-build}}
if [ -n "$cache" ] && command -v ccache >/dev/null && mkdir -p "$cache/ccache" 2>/dev/null && [ -O "$cache/ccache" ]; then
  export CCACHE_DIR=$cache/ccache CCACHE_BASEDIR=${PWD%/*} CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=500M
  launcher=(ccache)
fi

stamp=$("$compiler" --version | head -1; printf '%s\n' "${flags[@]}")
if [ "$(cat "$out/obj/flags" 2>/dev/null || true)" != "$stamp" ]; then
  find "$out/obj" -name '*.o' -delete
  printf '%s' "$stamp" >"$out/obj/flags"
fi

# True when the object is older than its source or a header in its dependency file.
is_stale() {
  local object=$1 source=$2 word
  [ -e "$object" ] && [ -e "${object%.o}.d" ] || return 0
  [ "$source" -nt "$object" ] && return 0
  for word in $(sed -e 's/^[^:]*://' -e 's/\\$//' "${object%.o}.d"); do
    [ -e "${word%:}" ] || return 0
    [ "${word%:}" -nt "$object" ] && return 0
  done
  return 1
}

objects=()
stale=()
while IFS= read -r source; do
  object=$out/obj/${source#src/}
  object=${object%.cc}.o
  objects+=("$object")
  is_stale "$object" "$source" && stale+=("$source" "$object")
done < <(find "${sources[@]}" -name '*.cc' | LC_ALL=C sort)

if [ ${#stale[@]} -gt 0 ]; then
  export command_list="${launcher[*]@Q} ${compiler@Q} ${flags[*]@Q}"
  compile() {
    eval "local command=($command_list)"
    mkdir -p "$(dirname "$2")"
    rm -f "$2"
    "${command[@]}" -MMD -MF "${2%.o}.d.new" -MT x -c "$1" -o "$2.new" && mv "${2%.o}.d.new" "${2%.o}.d" && mv "$2.new" "$2"
  }
  export -f compile
  printf '%s\0' "${stale[@]}" | xargs -0 -n 2 -P "$jobs" bash -c 'compile "$@"' _ || fail 'compilation failed'
fi

target=$out/hullmark.node
if [ ${#stale[@]} -gt 0 ] || [ ! -e "$target" ] || [ "$(cat "$out/obj/linked" 2>/dev/null || true)" != "${objects[*]}" ]; then
  link=(-shared -Wl,-z,relro,-z,now -Wl,--exclude-libs,ALL)
  [ -n "$sanitize" ] && link+=("-fsanitize=$sanitize")
  "$compiler" "${link[@]}" -o "$target.new" "${objects[@]}" "${libraries[@]}" || fail 'linking failed'
  mv "$target.new" "$target"
  printf '%s' "${objects[*]}" >"$out/obj/linked"
fi
printf '%s\n' "native/$target"
