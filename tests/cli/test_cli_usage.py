"""Use the command wrongly: each time an exit code and a message that say what was wrong, and nothing done."""

from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from plasm_core.cli.commands import cli
from plasm_core.cli.exits import EPILOGUE
from tests.support.cli import CONFIGURATION, FAILURE, HELLO, OK, PLUGIN, UNREACHABLE, USAGE, Done

RUN = ("run", HELLO, "--stdin", "/dev/null")
NODE = "12D3KooWG3qunVZ84C6T4W8CksXNYmc5VtrQyUYMyPimFzvZ3K4h"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("run", "missing.wasm"),
            FAILURE,
            "error: cannot read module missing.wasm: No such file or directory",
        ),
        (("run", "."), FAILURE, "error: cannot read module .: Is a directory"),
        (("submit", "/proc/self/mem"), FAILURE, "error: cannot read /proc/self/mem: Input/output error"),
        (
            ("run", HELLO, "--file", "/proc/self/mem:x"),
            FAILURE,
            "error: cannot read /proc/self/mem: Input/output error",
        ),
        ((*RUN, "--receipt", "/missing/r.json"), FAILURE, "error: cannot write /missing/r.json"),
        (("run", HELLO, "--stdin", "missing"), FAILURE, "error: cannot read standard input missing"),
        (("run",), USAGE, "Missing argument 'MODULE'"),
        (("fly",), USAGE, "No such command 'fly'"),
        (("verify", HELLO, "--nonsense"), USAGE, "No such option"),
        ((*RUN, "--limit", "fuel=1"), USAGE, "--limit fuel=1: expected gas, memory, output, wall"),
        ((*RUN, "--limit", "wall=2days"), USAGE, "--limit wall: expected whole seconds"),
        ((*RUN, "--limit", "wall=25h"), USAGE, "--limit wall: expected 1s to 24h"),
        ((*RUN, "--limit", "gas=1e9", "--limit", "gas=5"), USAGE, "--limit gas was given more than once"),
        (("run", "-", "--stdin", "-"), USAGE, "standard input (-) can be read once only"),
        (("run", "/dev/stdin", "--stdin", "-"), USAGE, "standard input (-) can be read once only"),
        (("submit", "-", "--stdin", "/dev/fd/0"), USAGE, "standard input (-) can be read once only"),
        (("verify", "-", "--stdout", "/dev/stdin"), USAGE, "standard input (-) can be read once only"),
        (("verify", HELLO, "--key", "/dev/stdin", "--stderr", "-"), USAGE, "can be read once only"),
        ((*RUN, "--receipt", HELLO), USAGE, "--receipt would replace "),
        ((*RUN, "--manifest", HELLO), USAGE, "--manifest would replace "),
        (("run", "/dev/null", "--stdin", HELLO, "--receipt", HELLO), USAGE, "--receipt would replace "),
        ((*RUN, "--peer", NODE, "--runtime", "wasm3"), USAGE, "--runtime is about jobs on this machine"),
        (
            (*RUN, "--peer", NODE, "--validator", "wasmtime"),
            USAGE,
            "--validator is about jobs on this machine",
        ),
        ((*RUN, "--gateway", "--require-sandbox", "seccomp"), USAGE, "--require-sandbox is about jobs on"),
        ((*RUN, "--remote", "--signer", "ed25519"), USAGE, "--signer signs receipts of this machine"),
        ((*RUN, "--seed", "zz"), USAGE, "seed: expected 64 lower-case hexadecimal digits"),
        ((*RUN, "--env", "A"), USAGE, "--env A: expected NAME=VALUE"),
        ((*RUN, "--grant", "net"), USAGE, "'net' is not one of"),
        ((*RUN, "--capability", "clock.real"), USAGE, "--capability is called --grant now"),
        ((*RUN, "--class", "engine/wasm3"), USAGE, "--class is called --node-class now"),
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
def test_wrong_options_are_reported_before_the_job_runs(
    here: Callable[..., Done], wrong: tuple[str, str]
) -> None:
    """Otherwise the work is lost: there is output, but no receipt."""
    assert here(*RUN, *wrong).out == b""


@pytest.mark.parametrize("word", ["-query", "-hash", "-qx", "-uq", "-x"])
def test_an_argument_of_the_job_is_not_split(here: Callable[..., Done], word: str) -> None:
    """`-quality` would be `-q` for the command, and `-uality` for the job."""
    done = here(*RUN, word)

    assert (done.code, done.out) == (OK, word[::-1].encode() + b"\n")
    assert "exited with code 0" in done.err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("run", HELLO, "a", "--recipt", "r.json"), "did you mean --receipt?"),
        (("run", HELLO, "--limti=gas=1"), "did you mean --limit?"),
        (("submit", HELLO, "--limti=gas=1"), "did you mean --limit?"),
        (("submit", "--zzz", HELLO), "no such option: --zzz;"),
    ],
)
def test_an_unknown_option_is_refused_and_not_passed_to_the_job(
    here: Callable[..., Done], arguments: tuple[str, ...], meant: str
) -> None:
    """`plasm run hello.wasm --recipt r.json` wrote no receipt, and said nothing."""
    done = here(*arguments)

    said = " ".join(done.err.split())
    word = next(word for word in arguments if word.startswith("--")).partition("=")[0]
    assert (done.code, done.out) == (USAGE, b"")
    assert meant in said
    assert f"put -- before it: plasm {arguments[0]} MODULE -- {word}" in said


def test_behind_two_hyphens_every_word_is_the_jobs(here: Callable[..., Done]) -> None:
    assert here("run", HELLO, "--quiet", "--", "--recipt", "--json").out == b"nosj-- tpicer--\n"


def test_options_of_this_machine_are_used_where_a_strangers_job_is_run_again(
    here: Callable[..., Done],
) -> None:
    done = here(*RUN, "--peer", NODE, "--require", "reexecution", "--runtime", "wasm3")

    assert done.code == UNREACHABLE


@pytest.mark.parametrize(
    "address",
    ["foo", "/foo", "/ip4/127.0.0.1/tcp/1/p2p/foo", "/p2p/" + NODE, "/ip4/1.1.1.1/tcp/1,/ip4/1.1.1.1/tcp/2"],
)
def test_an_invalid_bootstrap_address_is_named(here: Callable[..., Done], address: str) -> None:
    pytest.importorskip("libp2p", reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
    done = here("peers", "--timeout", "5s", "--bootstrap", address)

    assert (done.code, done.out) == (CONFIGURATION, b"")
    assert "error: discovery.kademlia.bootstrap: " in done.err


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
