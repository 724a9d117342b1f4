"""Somebody who pastes a page's blocks into one shell, in order, and compares what they say with the page.

All blocks of a page run in one bash, so that variables, files and daemons in the background stay. `sh` blocks must
end with exit code 0; of `console` blocks each command's output is compared too, where the page shows any.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests.docs.pages import Block
from tests.support.receipts import ROOT

DEADLINE_S = 120
_MARK = "@@"
RUN = frozenset({"sh", "console", "python"})
"""The languages of blocks that a reader of a page runs."""


@attrs.frozen(kw_only=True)
class Command:
    """What is pasted at once, the exit code it must have, and the output it must have, None where none is shown."""

    place: str
    text: str
    code: int = 0
    shown: str | None = None


def commands(block: Block) -> Iterator[Command]:
    """Yield what a reader pastes of a block."""
    code = int(block.notes.get("exits", "0"))
    if name := block.notes.get("file"):
        yield Command(place=block.place, text=f"cat >{shlex.quote(name)} <<'{_MARK}'\n{block.text}{_MARK}\n")
    elif block.language == "python":
        yield Command(
            place=block.place, text=f"python3 -W error - <<'{_MARK}'\n{block.text}{_MARK}\n", code=code
        )
    elif block.language == "sh":
        yield Command(place=block.place, text=block.text, code=code)
    else:
        parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
        assert not parts[0], f"{block.place}: a console block begins with a command"
        for number, part in enumerate(parts[1:], start=1):
            lines = part.split("\n")
            end = next(index for index, line in enumerate(lines) if not line.endswith("\\")) + 1
            shown = "\n".join(lines[end:]).strip("\n")
            last = number == len(parts) - 1
            yield Command(
                place=f"{block.place} ({lines[0]})",
                text="\n".join(lines[:end]) + "\n",
                code=code if last else 0,
                shown=shown or None,
            )


def read(page: Sequence[Block], home: Path) -> None:
    """Paste the blocks of one page. Raises: AssertionError, with the command that did otherwise than the page says."""
    # A socket's path has a hundred bytes, and a directory of pytest's may have as many.
    with tempfile.TemporaryDirectory(prefix="plasm-") as runtime:
        _read(page, home, Path(runtime))


def _read(page: Sequence[Block], home: Path, runtime: Path) -> None:
    pasted = [command for block in page for command in commands(block)]
    _prepare(home)
    script = home / "script"
    script.write_text("".join(_lines(pasted)))
    output = home / "output"  # a file, since daemons in the background would keep a pipe open
    with output.open("wb") as said:
        process = subprocess.Popen(
            ["bash", str(script)],
            cwd=home / "work",
            env=_environment(home, runtime),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        _wait(process, output)
    finally:
        _end(process)
        _stop_daemon(home, runtime)
    _compare(pasted, output.read_text())


def _wait(process: subprocess.Popen[bytes], output: Path) -> None:
    """Give each command its own time. A page that stands still is left: what was not reached, is found missing."""
    end = time.monotonic() + 5 * DEADLINE_S
    size, deadline = 0, time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < min(deadline, end):
        time.sleep(0.05)
        if output.stat().st_size != size:
            size, deadline = output.stat().st_size, time.monotonic() + DEADLINE_S


def _prepare(home: Path) -> None:
    """Make a home, a directory to work in that holds what a clone does, and the commands on a path of its own."""
    for name in ("work", "bin"):
        (home / name).mkdir(parents=True)
    for name in ("examples", "docs", "php"):
        (home / "work" / name).symlink_to(ROOT / name)
    modules = Path("plasm_core", "testing", "modules")
    (home / "work" / modules.parent).mkdir(parents=True)
    (home / "work" / modules).symlink_to(ROOT / modules)
    scripts = Path(sysconfig.get_path("scripts"))
    for name in ("plasm", "plasmd"):
        (home / "bin" / name).write_text(f'#!/bin/sh\nexec {shlex.quote(str(scripts / name))} "$@"\n')
    ours = "case ${2:-} in pip) unset PYTHONWARNINGS ;; esac"  # pip's own warnings are not ours
    (home / "bin" / "python3").write_text(f'#!/bin/sh\n{ours}\nexec {shlex.quote(sys.executable)} "$@"\n')
    for path in (home / "bin").iterdir():
        path.chmod(0o755)


def _environment(home: Path, runtime: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PLASM_", "XDG_")) and not name.endswith("_DIRECTORY")
    }
    return kept | {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(runtime),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "COLUMNS": "120",
        "PYTHONWARNINGS": "error",
        "LC_ALL": "C.UTF-8",
    }


def _lines(pasted: Sequence[Command]) -> Iterator[str]:
    for number, command in enumerate(pasted):
        yield f"echo {_MARK}{number}\n{command.text}"
        yield f"echo {_MARK}code $?\n"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the shell and what it left in the background, which is in its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _stop_daemon(home: Path, runtime: Path) -> None:
    """End a daemon that a page has left in the background (`plasmd --detach`)."""
    if (runtime / "plasm" / "plasmd.sock").exists():
        subprocess.run(
            [home / "bin" / "plasmd", "--stop", "--set", "daemon.shutdown_s=30"],
            env=_environment(home, runtime),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
        )


def _compare(pasted: Sequence[Command], said: str) -> None:
    found = re.findall(rf"^{_MARK}(\d+)\n(.*?)(?=^{_MARK}\d+\n|\Z)", said, re.M | re.S)
    parts = {int(number): text for number, text in found}
    for number, command in enumerate(pasted):
        text, _, rest = parts.get(number, "").rpartition(f"{_MARK}code ")
        assert rest, f"{command.place} did not end: {parts.get(number, said)}"
        assert int(rest) == command.code, f"{command.place} ended with {rest.strip()}: {text}"
        if command.shown is not None:
            assert matches(command.shown, text), f"{command.place} says\n{text}\nand not\n{command.shown}"


_VARYING = (
    (re.compile(r"\b12D3KooW[1-9A-HJ-NP-Za-km-z…]*"), "12D3KooW…"),
    (re.compile(r"\b[0-9a-f]{12}(?:…|\b)"), "0…"),
    (re.compile(r"[\d,.]+ ms\b"), "0 ms"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z?"), "2026-01-01 00:00:00"),
    (re.compile(r"\b(wasmtime|wasm3) \d+\.\d+\.\d+"), r"\1 0.0.0"),
    (re.compile(r"[ \t]+"), " "),
)
"""Parts that differ between runs: the signer, times, versions."""
_PHASE = re.compile(r"^[a-z ]+…\n", re.MULTILINE)
"""A line that a command prints when a phase takes longer than a second, as on a busy machine."""


def matches(shown: str, said: str) -> bool:
    """Return whether output is what a page shows. `…` stands for the rest of a line, alone on a line for any lines."""
    pattern = ""
    for line in _steady(shown).split("\n"):
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"[^\n]*".join(re.escape(part) for part in line.split("…")) + r"\n"
    return re.fullmatch(pattern, _steady(_PHASE.sub("", said)) + "\n") is not None


def _steady(text: str) -> str:
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return "\n".join(line.strip() for line in text.strip("\n").split("\n"))


def parsed(block: Block) -> object:
    """Parse a block of JSON. Raises: ValueError."""
    return json.loads(block.text)
