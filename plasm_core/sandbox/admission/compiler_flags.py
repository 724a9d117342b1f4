"""The compiler flag or target that leaves a feature out of a module, by feature and compiler.

The names of LLVM's features are those of clang 19, rustc 1.95 and zig 0.17; asc's those of AssemblyScript 0.28.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_ZIG, _MVP = "-mcpu=generic", "-mcpu=mvp"
_RUST_TARGET = "--target wasm32-wasip1 (before Rust 1.78: wasm32-wasi)"
_COMPILERS = ("clang", "rustc", "zig", "Go", "AssemblyScript", "Emscripten")


def _llvm(name: str, *, asc: str | None = None, emscripten: str | None = None) -> dict[str, str]:
    """Return the flags that switch a feature of LLVM off. Emscripten passes clang's on."""
    flags = {
        "clang": f"-mno-{name}",
        "rustc": f"-C target-feature=-{name}",
        "zig": f"-mcpu=generic-{name.replace('-', '_')}",
        "Emscripten": emscripten or f"-mno-{name}",
    }
    return flags if asc is None else {**flags, "AssemblyScript": asc}


_MEMORY = {
    "clang": "-Wl,--max-memory=1073741824",
    "rustc": "-C link-arg=--max-memory=1073741824",
    "zig": "--max-memory=1073741824",
    "AssemblyScript": "--maximumMemory 16384",
    "Emscripten": "-sMAXIMUM_MEMORY=1GB",
}
_FLAGS: dict[str, dict[str, str]] = {
    "bulk-memory": _llvm("bulk-memory", asc="--disable bulk-memory"),
    "bulk-memory-opt": {
        "clang": "-mcpu=mvp",
        "rustc": "-C target-cpu=mvp",
        "zig": "-mcpu=mvp",
        "AssemblyScript": "--disable bulk-memory",
        "Emscripten": "-mcpu=mvp",
    },
    "extended-const": _llvm("extended-const"),
    "multi-value": _llvm("multivalue"),
    "nontrapping-float-to-int": _llvm("nontrapping-fptoint", asc="--disable nontrapping-f2i"),
    "reference-types": _llvm("reference-types", asc="no --enable reference-types"),
    "sign-extension": _llvm("sign-ext", asc="--disable sign-extension"),
    "simd": _llvm("simd128", asc="no --enable simd"),
    "large-memory": _MEMORY,
    "whole-memory": _MEMORY,
    # What plasm.det/v1 does not have.
    "exceptions": {
        "clang": "no -fwasm-exceptions (-fno-exceptions)",
        "rustc": "-C panic=abort",
        "zig": "-fno-exceptions for C++",
        "Emscripten": "no -fwasm-exceptions",
    },
    "tail-calls": _llvm("tail-call"),
    # What no profile has.
    "legacy-exceptions": {
        "clang": "-mllvm -wasm-use-legacy-eh=false",
        "rustc": "-C llvm-args=-wasm-use-legacy-eh=false",
        "zig": "-mllvm -wasm-use-legacy-eh=false for C++",
        "Emscripten": "-sWASM_LEGACY_EXCEPTIONS=0",
    },
    "garbage-collection": {"AssemblyScript": "no --enable gc", "rustc": "-C target-feature=-gc"},
    "memory64": {
        "clang": "--target=wasm32-wasi",
        "rustc": _RUST_TARGET,
        "zig": "-target wasm32-wasi",
        "Emscripten": "no -sMEMORY64",
    },
    "multi-memory": {
        "clang": "-mno-multimemory",
        "zig": "-mcpu=generic-multimemory",
        "Emscripten": "-mno-multimemory",
    },
    "relaxed-simd": _llvm("relaxed-simd", asc="no --enable relaxed-simd"),
    "threads": {
        "clang": "--target=wasm32-wasi, no -pthread, no -matomics",
        "rustc": _RUST_TARGET,
        "zig": "-mcpu=generic-atomics -fsingle-threaded",
        "AssemblyScript": "no --enable threads",
        "Emscripten": "no -pthread",
    },
    "wide-arithmetic": {
        "clang": "-mno-wide-arithmetic",
        "rustc": "-C target-feature=-wide-arithmetic",
        "zig": "-mcpu=generic-wide_arithmetic",
        "Emscripten": "-mno-wide-arithmetic",
    },
    # Targets, by what the module then lacks or imports.
    "no-start": {
        "clang": "--target=wasm32-wasi, no -mexec-model=reactor",
        "rustc": f"{_RUST_TARGET} and a main",
        "zig": "build-exe -target wasm32-wasi",
        "Go": "GOOS=wasip1 GOARCH=wasm, no -buildmode=c-shared",
        "AssemblyScript": "--exportStart _start",
        "Emscripten": "-sSTANDALONE_WASM and a main",
    },
    "own-memory": {
        "clang": "no -Wl,--import-memory",
        "rustc": "no -C link-arg=--import-memory",
        "zig": "no --import-memory",
        "Go": "GOOS=wasip1 GOARCH=wasm",
        "AssemblyScript": "no --importMemory, no --noExportMemory",
        "Emscripten": "-sSTANDALONE_WASM, no -sIMPORTED_MEMORY",
    },
    "own-table": {
        "clang": "no -Wl,--import-table",
        "rustc": "no -C link-arg=--import-table",
        "zig": "no --import-table",
        "AssemblyScript": "no --importTable",
        "Emscripten": "-sSTANDALONE_WASM, no -sMAIN_MODULE",
    },
    "wasi-imports": {
        "clang": "--target=wasm32-wasi",
        "rustc": _RUST_TARGET,
        "zig": "-target wasm32-wasi",
        "Go": "GOOS=wasip1 GOARCH=wasm",
        "AssemblyScript": "--config node_modules/@assemblyscript/wasi-shim/asconfig.json, with the package "
        "@assemblyscript/wasi-shim",
        "Emscripten": "-sSTANDALONE_WASM",
    },
}


def flags_against(features: Iterable[str], among: Collection[str] = ()) -> dict[str, str]:
    """Return for each compiler the flags that leave these features out, where it has one for each that it may emit.

    `among`: the compilers that may have made the module; all if it is empty, or if none of them has a flag.
    """
    named = [_FLAGS[feature] for feature in sorted(features) if feature in _FLAGS]
    found = {
        compiler: _joined([flags[compiler] for flags in named if compiler in flags])
        for compiler in _COMPILERS
    }
    found = {compiler: flags for compiler, flags in found.items() if flags}
    return {compiler: flags for compiler, flags in found.items() if compiler in among} or found


def advice_against(features: Iterable[str], among: Collection[str] = ()) -> str | None:
    """Return the same in one line, or None if no compiler has a flag."""
    found = flags_against(features, among)
    return "; ".join(f"{compiler}: {flags}" for compiler, flags in found.items()) or None


def _joined(flags: list[str]) -> str:
    """Return flags of one compiler in one line. zig obeys the last -mcpu only, so that one has all the features."""
    words = list(dict.fromkeys(" ".join(flags).split(" "))) if any(_ZIG in flag for flag in flags) else flags
    less = [word.removeprefix(_ZIG) for word in words if word.startswith(_ZIG)]
    if len(less) < 2 and _MVP not in words:
        return " ".join(dict.fromkeys(flags))
    merged = _MVP if _MVP in words else _ZIG + "".join(less)
    return " ".join([merged, *(word for word in words if not word.startswith(_ZIG) and word != _MVP)])
