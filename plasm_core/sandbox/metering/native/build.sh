#!/bin/sh
# Compile body.c to body.wasm: clang 16 and lld, as Debian 12 has them.
set -eu
cd "$(dirname "$0")"
clang-16 --target=wasm32 -O3 -ffreestanding -fno-builtin -nostdlib -std=c11 -Wall -Wextra -Werror \
    -Wl,--no-entry -Wl,--strip-all $(printf -- '-Wl,--export=%s ' in result follows cost_of effect_of truncates __heap_base) -Wl,-z,stack-size=65536 -o body.wasm body.c
