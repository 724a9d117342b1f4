#!/bin/sh
# Build thumbnail.wasm from thumbnail.c; the same compiler gives the same bytes.
set -eu

cd "$(dirname "$0")"

missing=
for tool in clang-16 wasm-ld-16; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -e /usr/include/wasm32-wasi/unistd.h ] || missing="$missing wasi-libc"
[ -e /usr/lib/llvm-16/lib/clang/16/lib/wasi/libclang_rt.builtins-wasm32.a ] ||
    missing="$missing libclang-rt-16-dev-wasm32"
if [ -n "$missing" ]; then
    echo "missing:$missing" >&2
    echo "On Debian 12 and Ubuntu 24.04, install what is needed with" >&2
    echo "    sudo apt-get install clang-16 lld-16 wasi-libc libclang-rt-16-dev-wasm32" >&2
    exit 1
fi

object=$(mktemp)
trap 'rm -f "$object"' EXIT

# In two steps: a link with -O would run binaryen's wasm-opt wherever it happens to be installed.
clang-16 --target=wasm32-wasi --sysroot=/usr -Wall -Wextra -Wconversion -Werror -O2 -c -o "$object" thumbnail.c
clang-16 --target=wasm32-wasi --sysroot=/usr -s -o thumbnail.wasm "$object"
chmod 644 thumbnail.wasm
