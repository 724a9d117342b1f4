#!/bin/sh
# Compile body.c to body.wasm: clang 16 and lld, as Debian 12 has them. Where clang links with -O it runs wasm-opt, if
# there is one: the result would depend on that.
set -eu
cd "$(dirname "$0")"
clang-16 --target=wasm32 -O3 -ffreestanding -fno-builtin -std=c11 -Wall -Wextra -Werror -c -o body.o body.c
clang-16 --target=wasm32 -nostdlib -Wl,--no-entry -Wl,--strip-all \
    $(printf -- '-Wl,--export=%s ' in result follows cost_of effect_of truncates __heap_base) -Wl,-z,stack-size=65536 -o body.wasm body.o
rm body.o
