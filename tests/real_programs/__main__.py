"""`python -m tests.real_programs`: fetch the programs, run each natively and through Plasm, and print a table.

Options: `--cache DIRECTORY` keeps packages and compiled modules; `--engines v8,wasmtime`; `--only TEXT,TEXT`;
`--defaults` runs them under the limits that a user has who names none; `--out FILE` has the table, as JSON if its
name ends so.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import attrs

from tests.real_programs.packages import FetchError
from tests.real_programs.programs import PROGRAMS, Program

_TIMEOUT_S = 1_800
_EQUAL = "same"
WHERE = ("native", "v8", "wasmtime")


@attrs.frozen(kw_only=True)
class Left:
    """What a run left: exit code, both outputs, and each file of its tree with its bytes, a directory with None."""

    code: int
    stdout: bytes
    stderr: bytes
    tree: dict[str, bytes | None]
    gas_used: int = 0
    wall_s: float = 0.0

    def difference(self, other: Left) -> str:
        """Return what differs, or `same`."""
        if self.code != other.code:
            return f"exit code {self.code}, not {other.code}: {self.stderr[-200:]!r}"
        if self.stdout != other.stdout:
            return "stdout"
        if self.stderr != other.stderr:
            return f"stderr: {self.stderr[-100:]!r}, not {other.stderr[-100:]!r}"
        paths = sorted(
            path for path in {*self.tree, *other.tree} if self.tree.get(path, 0) != other.tree.get(path, 0)
        )
        return f"files: {', '.join(paths[:4])}" if paths else _EQUAL


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def tree_of(directory: Path) -> dict[str, bytes | None]:
    """Return all that is in a directory, by its path; no `tmp` without anything in it."""
    found: dict[str, bytes | None] = {}
    for path in sorted(directory.rglob("*")):
        found[str(path.relative_to(directory))] = None if path.is_dir() else path.read_bytes()
    if not any(path.startswith("tmp/") for path in found):
        found.pop("tmp", None)
    return found


def plant(program: Program, cache: Path, root: Path, before: Path | None) -> None:
    """Write a program's input tree. `before`: the tree that the program it needs left."""
    if before is not None:
        shutil.copytree(before, root, dirs_exist_ok=True)
    package = program.package.unpacked(cache)
    for name, content in program.tree(package).items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            (shutil.copytree if content.is_dir() else shutil.copyfile)(content, place)
        else:
            place.write_bytes(content.encode() if isinstance(content, str) else content)


def natively(program: Program, module: Path, root: Path, work: Path, cache: Path) -> Left:
    """Run a program on wasmtime alone, in a directory, which it changes."""
    stdin, stdout, stderr = (work / name for name in ("stdin", "native.stdout", "native.stderr"))
    stdin.write_bytes(program.stdin)
    spec = {
        "module": str(module),
        "cache": str(cache / "native" / f"{program.package.version}-{module.name}.cwasm"),
        "args": program.args,
        "env": program.env,
        "stdin": str(stdin),
        "stdout": str(stdout),
        "stderr": str(stderr),
        "root": str(root),
        "entry": program.entry,
    }
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.real_programs.native", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return Left(
        code=json.loads(done.stdout),
        stdout=stdout.read_bytes(),
        stderr=stderr.read_bytes(),
        tree=tree_of(root),
        wall_s=time.monotonic() - started,
    )


def through_plasm(
    program: Program, module: Path, root: Path, work: Path, engine: str, *, defaults: bool
) -> Left:
    """Run a program as a user does, with `plasm run`, over a copy of a directory."""
    out = work / f"out-{engine}"
    command = [sys.executable, "-m", "plasm_core.cli", "run", str(module), "--runtime", engine, "--json"]
    command += ["--dir", f"{root}:.:rw", "--out", f".:{out}", "--stdin", str(work / "stdin")]
    if not defaults:
        for limit in (f"gas={program.gas}", f"memory={program.memory_mib}MiB", "wall=900s"):
            command += ["--limit", limit]
        command += ["--set", "admission.cpu_s=600", "--set", "admission.memory_bytes=4294967296"]
    for item in program.env:
        command += ["--env", item]
    command += [] if program.entry is None else ["--entry", program.entry]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--", *program.args], capture_output=True, timeout=_TIMEOUT_S, check=False
    )
    wall_s = time.monotonic() - started
    if not done.stdout:
        raise RuntimeError(done.stderr.decode(errors="replace").strip()[-500:])
    result = json.loads(done.stdout)
    outcome = result["outcome"]
    return Left(
        code=outcome["code"] if outcome["kind"] == "exited" else -1,
        stdout=base64.b64decode(result["stdoutBase64"]),
        stderr=base64.b64decode(result["stderrBase64"]) or str(outcome["trap"] or "").encode(),
        tree=tree_of(out) if out.is_dir() else {},
        gas_used=int(result["gasUsed"]),
        wall_s=wall_s,
    )


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table."""

    program: str
    kind: str
    package: str
    module_bytes: int
    files: int
    engines: dict[str, str]
    gas_used: dict[str, int]
    wall_s: dict[str, float]


class Trees:
    """The trees that programs leave natively, each run once, since other programs need them as their input."""

    def __init__(self, cache: Path, directory: Path) -> None:
        self._cache = cache
        self._directory = directory
        self._left: dict[str, Left] = {}

    def plant(self, program: Program, root: Path) -> None:
        """Write a program's input tree. Raises: RuntimeError; `FetchError`."""
        if program.needs is not None:
            self.after(next(item for item in PROGRAMS if item.name == program.needs))
        plant(program, self._cache, root, None if program.needs is None else self._directory / program.needs)
        (root / "tmp").mkdir(parents=True, exist_ok=True)  # as each job's tree has

    def after(self, program: Program) -> Left:
        """Run a program natively, and return what it left. Raises: RuntimeError; `FetchError`."""
        if program.name not in self._left:
            root = self._directory / program.name
            self.plant(program, root)
            with tempfile.TemporaryDirectory() as work:
                module = program.module_file(self._cache)
                found = natively(program, module, root, Path(work), self._cache)
            if found.code != program.code:
                raise RuntimeError(f"natively exit code {found.code}: {found.stderr[-300:]!r}")
            self._left[program.name] = found
        return self._left[program.name]


def compare(program: Program, engines: list[str], cache: Path, trees: Trees, *, defaults: bool) -> Row:
    """Run one program everywhere. Raises: RuntimeError; `FetchError`."""
    expected = trees.after(program)
    module = program.module_file(cache)
    results: dict[str, str] = {}
    gas: dict[str, int] = {}
    walls = {"native": round(expected.wall_s, 2)}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "stdin").write_bytes(program.stdin)
        trees.plant(program, work / "root")
        for engine in engines:
            try:
                found = through_plasm(program, module, work / "root", work, engine, defaults=defaults)
            except (RuntimeError, subprocess.TimeoutExpired) as exc:
                results[engine] = f"not run: {' '.join(str(exc).split())[:300]}"
                continue
            results[engine] = found.difference(expected)
            gas[engine], walls[engine] = found.gas_used, round(found.wall_s, 2)
    return Row(
        program=program.name,
        kind=program.kind,
        package=str(program.package),
        module_bytes=module.stat().st_size,
        files=sum(data is not None for data in expected.tree.values()),
        engines=results,
        gas_used=gas,
        wall_s=walls,
    )


def table(rows: list[Row], engines: list[str]) -> str:
    """Return the table of results as text."""
    titles = ("program", "package", "module MB", "files", "gas", *engines, *(f"{name} s" for name in WHERE))
    lines = [titles]
    for row in rows:
        gas = sorted(set(row.gas_used.values()))
        lines.append(
            (
                row.program,
                row.package,
                f"{row.module_bytes / 1e6:.1f}",
                str(row.files),
                " or ".join(f"{value:,}" for value in gas),
                *(row.engines.get(engine, "") for engine in engines),
                *(f"{row.wall_s[name]:.1f}" if name in row.wall_s else "" for name in WHERE),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def wrong_digests(cache: Path) -> list[str]:
    """Return the interpreters of docs/scripts.md whose digests are not those of their modules, fetched before."""
    page = (Path(__file__).parents[2] / "docs" / "scripts.md").read_text(encoding="utf-8")
    wrong = []
    for program in PROGRAMS:
        if program.in_recipes and (cache / program.package.place).is_dir():
            digest = hashlib.sha256(program.module_file(cache).read_bytes()).hexdigest()
            if digest not in page:
                wrong.append(f"docs/scripts.md lacks the digest of {program.name}: {digest}")
                say(wrong[-1])
    return wrong


def main() -> int:
    """Run all programs, and return 1 if one that ran on two engines differs anywhere, or fewer than 20 agree."""
    parser = argparse.ArgumentParser(prog="script/test-real-programs", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "plasm-real-programs")
    parser.add_argument("--engines", default="v8,wasmtime")
    parser.add_argument("--only", default="")
    parser.add_argument("--defaults", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    engines = options.engines.split(",")
    rows, lost = [], []
    options.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        trees = Trees(options.cache, Path(directory))
        for program in PROGRAMS:
            if not any(text in program.name for text in options.only.split(",")):
                continue
            try:
                row = compare(program, engines, options.cache, trees, defaults=options.defaults)
            except (FetchError, OSError, RuntimeError) as exc:
                lost.append(f"{program.name}: {exc}")
                say(f"{program.name:32} {exc}")
                continue
            rows.append(row)
            told = "; ".join(f"{engine}: {row.engines[engine]}" for engine in engines)
            say(f"{row.program:32} {told}")
            say(f"{'':32} gas {row.gas_used}, seconds {row.wall_s}")
    lost += wrong_digests(options.cache)
    if options.out:
        as_json = json.dumps([attrs.asdict(row) for row in rows], indent=1) + "\n"
        options.out.write_text(as_json if options.out.suffix == ".json" else table(rows, engines))
    everywhere = [row for row in rows if set(row.engines.values()) == {_EQUAL}]
    one = [row for row in rows if _EQUAL in row.engines.values()]
    say(
        f"{len(rows)} programs ran; the same bytes as natively on one engine: {len(one)}, on all: {len(everywhere)}"
    )
    return 1 if lost or len(everywhere) < len(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
