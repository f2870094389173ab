#!/usr/bin/env bash
# Builds the addon of the package pkcs11js, which comes as source alone, where the package looks for it: with g++ alone, no node-gyp, no download.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../node_modules/pkcs11js"
headers=../node-api-headers/include
[ -e "$headers/node_api.h" ] || { echo "native/pkcs11.sh: no node_api.h: run npm ci first" >&2; exit 1; }
target=build/Release/pkcs11.node
mkdir -p build/Release
exec 9>build/lock
flock 9
if [ -e "$target" ] && [ -z "$(find src includes binding.gyp -newer "$target" -print -quit)" ]; then exit; fi
"${CXX:-g++}" -std=c++17 -O2 -g1 -fPIC -shared -fvisibility=hidden -fstack-protector-strong -D_FORTIFY_SOURCE=2 -w \
  -DNODE_GYP_MODULE_NAME=pkcs11 -DBUILDING_NODE_EXTENSION -DNAPI_DISABLE_CPP_EXCEPTIONS -Iincludes -isystem "$headers" \
  -Wl,-z,relro,-z,now -o "$target.new" src/dl.cpp src/common.cpp src/main.cpp -pthread -ldl
mv "$target.new" "$target"
