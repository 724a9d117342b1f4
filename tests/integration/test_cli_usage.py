"""Use the command wrongly: each time an exit code and a message that say what was wrong, and nothing done."""

from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from plasm_core.cli.commands import cli
from plasm_core.cli.exits import EPILOGUE
from tests.support.cli import CONFIGURATION, FAILURE, HELLO, OK, PLUGIN, USAGE, Done

RUN = ("run", HELLO, "--stdin", "/dev/null")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("run", "missing.wasm"),
            FAILURE,
            "error: cannot read module missing.wasm: No such file or directory",
        ),
        (("run", "."), FAILURE, "error: cannot read module .: Is a directory"),
        ((*RUN, "--receipt", "/missing/r.json"), FAILURE, "error: cannot write /missing/r.json"),
        (("run", HELLO, "--stdin", "missing"), FAILURE, "error: cannot read standard input missing"),
        (("run",), USAGE, "Missing argument 'MODULE'"),
        (("fly",), USAGE, "No such command 'fly'"),
        (("verify", HELLO, "--nonsense"), USAGE, "No such option"),
        ((*RUN, "--limit", "fuel=1"), USAGE, "--limit fuel=1: expected gas, memory, output, wall"),
        ((*RUN, "--limit", "wall=2days"), USAGE, "--limit wall: expected a duration"),
        ((*RUN, "--limit", "wall=25h"), USAGE, "wall_time_s: expected an integer ≤ 86400, got 90000"),
        ((*RUN, "--seed", "zz"), USAGE, "seed: expected 64 lower-case hexadecimal digits"),
        ((*RUN, "--env", "A"), USAGE, "--env A: expected NAME=VALUE"),
        ((*RUN, "--capability", "net"), USAGE, "'net' is not one of"),
        (
            ("verify", HELLO, "--key", "x"),
            USAGE,
            "--key x: no PeerId, no hexadecimal key, and no file to read",
        ),
        ((*RUN, "--set", "admission.cpu=1"), CONFIGURATION, "error: admission.cpu: unknown field"),
        ((*RUN, "--set", "x"), CONFIGURATION, "error: --set x: expected key=value"),
        (
            (*RUN, "--config", "missing.toml"),
            CONFIGURATION,
            "error: no configuration file at missing",
        ),
        ((*RUN, "--set", "signer.ed25519.kye=1"), CONFIGURATION, "signer.ed25519.kye: unknown field"),
        (
            (*RUN, "--runtime", "nosuch"),
            PLUGIN,
            "no installed distribution provides the runtime nosuch",
        ),
        (
            (*RUN, "--signer", "nosuch"),
            PLUGIN,
            "no installed distribution provides the signer nosuch",
        ),
        (("verify", HELLO, "--verifier", "nosuch"), PLUGIN, "provides the verifier nosuch"),
        (("verify", "missing.json"), FAILURE, "error: cannot read receipt missing.json"),
        (("receipt", "show", HELLO), FAILURE, "error: not a valid envelope: "),
    ],
)
def test_each_wrong_use_has_its_exit_code_and_its_message(
    here: Callable[..., Done], arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = here(*arguments)

    assert done.code == code
    assert message in " ".join(done.err.split())


@pytest.mark.parametrize(
    "wrong",
    [
        ("--receipt", "/missing/r.json"),
        ("--signer", "nosuch"),
        ("--verifier", "nosuch"),
    ],
)
def test_what_is_wrong_is_known_before_the_job_runs(
    here: Callable[..., Done], wrong: tuple[str, str]
) -> None:
    """Else the work is lost: there is output, but no receipt of it."""
    assert here(*RUN, *wrong).out == b""


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    if isinstance(command, click.Group):
        found += [inner for name, sub in command.commands.items() for inner in commands(sub, (*path, name))]
    return found


@pytest.mark.parametrize("path", commands(cli), ids=" ".join)
def test_the_help_of_each_command_states_the_exit_codes(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*path, "--help"])

    assert done.exit_code == OK
    assert EPILOGUE in " ".join(done.output.split())
