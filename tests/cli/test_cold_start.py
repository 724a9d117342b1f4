"""What a command imports before it does anything: that is most of the time that a short one takes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.cli.commands import _COMMANDS, cli
from tests.support.cli import HELLO

_SCRIPT = """
import sys
from plasm_core.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
LARGE = {
    *("cattrs", "rich", "decimal", "tomllib", "difflib"),
    *(
        "plasm_core.protocol.messages",
        "plasm_core.sandbox.metering.rewrite",
        "plasm_core.sandbox.process.zygote",
    ),
    *("plasm_core.client.tree_archive", "cryptography.hazmat.primitives.serialization"),
}
"""What no small job on this machine needs, each of them a millisecond or more."""
REMOTE = {
    "plasm_core.client." + name for name in ("auditor", "node_choice", "reputation", "job_map", "operator")
}
REMOTE |= {"plasm_core.local_node", "statistics"}
HEAVY = {"trio", "cattrs", "attr", "rich", "cryptography", "wasmtime", "libp2p", "importlib.metadata"}


def imported(*arguments: str, environ: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """Run the command, and return what it shows and what it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env=environ,
        timeout=300,
        check=True,
    )
    return done.stdout, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    shown, modules = imported(*arguments)

    assert "plasm" in shown
    assert modules & HEAVY == set()


def test_completion_of_a_command_imports_nothing_heavy() -> None:
    environ = {"_PLASM_COMPLETE": "bash_complete", "COMP_WORDS": "plasm re", "COMP_CWORD": "1"}

    shown, modules = imported(environ=environ)

    assert shown.split() == ["plain,result", "plain,release", "plain,reputation", "plain,receipt"]
    assert modules & HEAVY == set()


def test_a_run_on_this_machine_imports_no_event_loop(homes: Path) -> None:
    shown, modules = imported("run", HELLO, "a")

    assert shown == "a\n"
    assert modules & {"trio", "libp2p", "asyncio"} == set()


def test_a_second_run_imports_nothing_that_only_the_first_or_another_command_needs(homes: Path) -> None:
    imported("run", HELLO, "a")

    _, modules = imported("run", HELLO, "a")

    assert modules & LARGE == set()


def test_submitting_to_the_daemon_imports_nothing_that_only_other_nodes_need() -> None:
    words = "import sys, plasm_core.cli.jobs, plasm_core.client.client, plasm_transport_local; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, timeout=300, check=True
    )

    assert set(done.stdout.split()) & (LARGE | REMOTE) - {"plasm_core.protocol.messages"} == set()


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_command_is_listed_by_the_first_paragraph_of_its_help(name: str) -> None:
    paragraph = inspect.cleandoc(cli.commands[name].help or "").partition("\n\n")[0]

    assert " ".join(paragraph.split()) == _COMMANDS[name][1]


def test_no_help_text_is_cut_off() -> None:
    shown, _ = imported("--help")

    said = " ".join(shown.split())
    assert all(text in said for _, text in _COMMANDS.values())
