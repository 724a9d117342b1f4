#!/bin/sh
# Build the corpus: every module beside its source. With arguments, only those languages: build.sh c wat
#
# The same sources and tools give the same bytes anywhere. These tools made what is committed:
#   c               Debian 12's clang-16 16.0.6, lld-16, wasi-libc 0.0~git20220510, libclang-rt-16-dev-wasm32
#   rust            Debian 12's rustc 1.63.0 with libstd-rust-dev-wasm32, lld-16
#   assemblyscript  assemblyscript 0.28.20 from npm
#   wat             Debian 12's wabt 1.0.32, Python 3.10 or newer
set -eu

cd "$(dirname "$0")"

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

need() {
    tool=$1
    shift
    command -v "$tool" >/dev/null || die "build.sh: $tool is missing. Install it with:" "    $*"
}

build_c() {
    need clang-16 sudo apt-get install clang-16 lld-16 wasi-libc libclang-rt-16-dev-wasm32
    need wasm-ld-16 sudo apt-get install lld-16
    # clang runs it where it finds it, and what comes out depends on its version.
    ! command -v wasm-opt >/dev/null || die "build.sh: take $(command -v wasm-opt) off the PATH"
    for source in c/*.c; do
        name=$(basename "$source" .c)
        (cd c && clang-16 --target=wasm32-wasi --sysroot=/usr -O2 -Wall -Wextra -Werror -s -o "$name.wasm" "$name.c")
    done
}

build_rust() {
    rustc=${RUSTC:-/usr/bin/rustc}
    need "$rustc" sudo apt-get install rustc libstd-rust-dev-wasm32
    need wasm-ld-16 sudo apt-get install lld-16
    [ -d "$("$rustc" --print sysroot)/lib/rustlib/wasm32-wasi" ] ||
        die "build.sh: $rustc has no standard library for WASI. Install it with:" \
            '    sudo apt-get install libstd-rust-dev-wasm32'
    for source in rust/*.rs; do
        name=$(basename "$source" .rs)
        (cd rust && "$rustc" --edition 2021 --target wasm32-wasi -C opt-level=s -C lto=fat -C codegen-units=1 \
            -C strip=symbols -C linker=wasm-ld-16 -C linker-flavor=wasm-ld -o "$name.wasm" "$name.rs")
    done
}

build_assemblyscript() {
    need npm sudo apt-get install nodejs npm
    # The same program twice: with instructions of bulk memory, and without.
    compile_assemblyscript collections_bulk
    compile_assemblyscript collections --disable bulk-memory
}

compile_assemblyscript() {
    output=$1
    shift
    (cd assemblyscript && npm exec --yes --package=assemblyscript@0.28.20 -- asc collections.ts \
        --outFile "$output.wasm" --runtime incremental --exportStart _start --use abort= --optimize "$@")
}

build_wat() {
    need wat2wasm sudo apt-get install wabt
    need python3 sudo apt-get install python3
    texts=$(mktemp -d)
    trap 'rm -rf "$texts"' EXIT
    cp wat/*.wat "$texts"
    for generator in wat/*.py; do
        python3 -B "$generator" "$texts"
    done
    for text in "$texts"/*.wat; do
        wat2wasm --enable-extended-const -o "wat/$(basename "$text" .wat).wasm" "$text"
    done
}

[ $# -gt 0 ] || set -- c rust assemblyscript wat
for language in "$@"; do
    case $language in
        c | rust | assemblyscript | wat) "build_$language" ;;
        *) die "build.sh: no such language: $language (c, rust, assemblyscript, wat)" ;;
    esac
done
chmod 644 ./*/*.wasm
