"""What is given to a Python client is used or refused: nothing is dropped or found out once a node has the job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core.client import Client
from plasm_core.client.submission import Submission
from plasm_core.errors import ConfigError, PluginMissingError
from plasm_core.records import Handle, PeerId
from plasm_core.records.manifest import DEFAULT_LIMITS
from tests.daemon.conftest import HELLO
from tests.support.daemon import Daemon

CODE = b"\0asm\1\0\0\0"
HANDLE = Handle.new("ab" * 32, PeerId.parse("12D3KooWG3qunVZ84C6T4W8CksXNYmc5VtrQyUYMyPimFzvZ3K4h"))


@pytest.mark.parametrize("make", [list, tuple, set, iter, lambda items: (item for item in items)])
def test_grants_may_be_any_list_and_are_all_asked_for(make: Callable[[list[str]], Any]) -> None:
    asked = Submission.of(CODE, grants=make(["clock.real", "random.real"])).manifest.capabilities

    assert asked == ("clock.real", "random.real")


def test_limits_are_numbers_or_texts_as_on_the_command_line() -> None:
    manifest = Submission.of(CODE, gas="1e9", memory="64MiB", output=1000, wall_time_s="5min").manifest

    assert (manifest.limits.gas, manifest.limits.memory_bytes, manifest.limits.output_bytes) == (
        10**9,
        64 << 20,
        1000,
    )
    assert manifest.wall_time_s == 300
    assert Submission.of(CODE, gas=7, limits=DEFAULT_LIMITS).manifest.limits == attrs.evolve(
        DEFAULT_LIMITS, gas=7
    )


@pytest.mark.parametrize(
    ("terms", "error", "message"),
    [
        ({"gas": "lots"}, ValueError, "gas: expected a number such as 1e9"),
        ({"gas": 1e9}, TypeError, "gas: expected int or str, got float"),
        ({"memory": 1}, ValueError, "memory_bytes: expected"),
        ({"output": True}, TypeError, "output: expected int or str, got bool"),
        ({"wall_time_s": "1.5"}, ValueError, "wall_time_s: expected whole seconds"),
    ],
)
def test_an_invalid_limit_is_refused(terms: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Submission.of(CODE, **terms)


@pytest.mark.parametrize("what", ["stdin", "module"])
def test_an_empty_path_is_refused(what: str) -> None:
    """And not taken for the directory that the program runs in."""
    with pytest.raises(ValueError, match="the path is empty"):
        Submission.of("") if what == "module" else Submission.of(CODE, stdin="")


@pytest.mark.parametrize("name", ["-", "./-", Path("-")])
def test_a_file_called_minus_is_no_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_bytes(b"of the file")

    with Submission.of(CODE, stdin=name) as submission:
        assert submission.load()[1].stdin == b"of the file"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": {}}, "config: expected Config or str or PathLike or None, got dict"),
        ({"transport": ["local"]}, "transport: expected str or None, got list"),
        ({"bootstrap": None}, "bootstrap: expected str or list or tuple, got NoneType"),
        ({"bootstrap": [HANDLE.peer]}, "bootstrap: expected str, got PeerId"),
        ({"verifier": {"signature"}}, "verifier: expected str or list or tuple, got set"),
        ({"peer": HANDLE.peer}, "peer: expected str or None, got PeerId"),
        ({"node_class": None}, "node_class: expected str, got NoneType"),
        ({"gateway": "no"}, "gateway: expected bool, got str"),
        ({"require": ["known"]}, "require: expected str or None, got list"),
    ],
)
def test_an_option_of_another_type_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}$"), Client(**options) as client:
        client.status(HANDLE)


@pytest.mark.parametrize("name", ["verifiers", "bootstraps", "timeout_s", "class_"])
def test_an_unknown_option_is_refused(name: str) -> None:
    unknown: Any = {name: "signature"}
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        Client(**unknown)


def test_the_configuration_is_read_as_the_commands_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's file, another file, the environment, and what is given, each over the one before."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "plasm").mkdir()
    (tmp_path / "plasm" / "plasm.toml").write_text('[plasm]\nverifier = ["userfile"]\n')
    (tmp_path / "other.toml").write_text('[plasm]\nverifier = ["otherfile"]\n')

    def used(**options: Any) -> str:
        with pytest.raises(PluginMissingError) as raised, Client(**options) as client:
            client.status(HANDLE)
        return str(raised.value)

    assert "userfile" in used()
    assert "otherfile" in used(config=tmp_path / "other.toml")
    assert "given" in used(verifier="given")
    assert "given" in used(verifier=["signature", "given"])
    monkeypatch.setenv("PLASM_VERIFIER", "environment")
    assert "environment" in used()
    assert "environment" in used(config=str(tmp_path / "other.toml"))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no configuration file at"),
        Client(tmp_path / "none.toml") as client,
    ):
        client.status(HANDLE)


def test_a_bootstrap_node_and_the_local_transport_exclude_each_other() -> None:
    options: Any = {"transport": "local", "bootstrap": "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW"}
    with (
        pytest.raises(ConfigError, match="bootstrap needs a network"),
        Client(**options) as client,
    ):
        client.status(HANDLE)


def test_an_empty_requirement_is_not_taken_for_none() -> None:
    """A variable that is not set must not make any node's word suffice."""
    with pytest.raises(ConfigError, match="expected one of signature, known"), Client(require="") as client:
        client.status(HANDLE)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ("abc", {}, TypeError, "inputs: expected a list or another iterable, got str"),
        (b"abc", {}, TypeError, "inputs: expected a list or another iterable, got bytes"),
        (Path("inputs"), {}, TypeError, "inputs: expected a list or another iterable, got PosixPath"),
        ({"args": ["a"]}, {}, TypeError, "inputs: expected a list or another iterable, got dict"),
        (5, {}, TypeError, "inputs: expected a list or another iterable, got int"),
        ([b""], {"ordered": "no"}, TypeError, "ordered: expected bool, got str"),
        ([b""], {"in_flight": "2"}, TypeError, "in_flight: expected int, got str"),
        ([b""], {"ahead": None}, TypeError, "ahead: expected int, got NoneType"),
        ([b""], {"ahead": 0}, ValueError, "ahead: expected a number greater than 0, got 0"),
        ([b""], {"timeout_s": "3"}, TypeError, "timeout_s: expected int or float or None, got str"),
    ],
)
def test_options_that_map_cannot_use_are_refused(
    inputs: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """A text was taken for a list of paths of one character each."""
    with pytest.raises(error, match=f"^{message}$"), Client() as client:
        list(client.map(CODE, inputs, **options))


@pytest.mark.parametrize(
    ("timeout_s", "error"), [("3", TypeError), (True, TypeError), (float("nan"), ValueError)]
)
def test_a_timeout_that_is_no_number_is_refused(timeout_s: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^timeout_s: expected "), Client() as client:
        client.result(HANDLE, timeout_s=timeout_s)


@pytest.mark.parametrize("handle", [None, b"phase0-", 5, [HANDLE]])
def test_an_invalid_handle_is_refused(handle: Any) -> None:
    with pytest.raises(TypeError, match=r"^handle: expected Handle or str, got"), Client() as client:
        client.status(handle)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as started:
        started.start()
        yield started


def test_a_callback_that_cannot_be_called_is_refused_before_the_submission(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
    anything: Any = None
    with Client() as client:
        for call, options in (
            (client.submit, {"placed": anything}),
            (client.submit, {"watch": "nothing"}),
            (client.run, {"placed": 5}),
            (client.run, {"sink": open}),
        ):
            with pytest.raises(TypeError, match=f"^{next(iter(options))}: expected "):
                call(HELLO, **options)
        with pytest.raises(TypeError, match=r"^show: expected something to call"):
            client.logs(HANDLE, anything)
    assert "job accepted" not in daemon.log.read_text()
