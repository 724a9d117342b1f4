"""`Client.map`, `AsyncClient.map` and `PlasmExecutor` against a real daemon."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed, wait
from pathlib import Path

import pytest
import trio

from plasm_core.client import Client, JobResult, PlasmExecutor, open_client
from plasm_core.errors import PeerUnreachableError, PlasmError, RefusedError
from plasm_core.records import Limits
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.receipts import ROOT
from tests.support.wat import FOREVER, starting

HELLO = ROOT / "examples" / "hello" / "hello.wasm"
LOOP = starting(FOREVER)
LONG = Limits(gas=10**15, memory_bytes=1 << 20, output_bytes=0)
TOO_MUCH = Limits(gas=2**53 - 1, memory_bytes=1 << 20, output_bytes=0)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as made:
        made.start()
        yield made


@pytest.fixture
def client(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    for name in ("PLASM_SOCKET", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, daemon.environ[name])
    with Client() as made:
        yield made


def stdout(found: JobResult | PlasmError) -> bytes:
    assert isinstance(found, JobResult)
    return found.stdout


def test_results_come_in_order(client: Client) -> None:
    found = [stdout(item) for item in client.map(HELLO, ({"args": [f"v{n}"]} for n in range(30)))]

    assert found == [f"v{n}"[::-1].encode() + b"\n" for n in range(30)]


def test_what_stdin_takes_is_an_input(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"def")

    found = [stdout(item) for item in client.map(HELLO, [b"abc", tmp_path / "file"])]

    assert found == [b"cba", b"fed"]


def test_inputs_are_read_as_results_are_taken(client: Client) -> None:
    """A million inputs cost no more memory than a few."""
    read: list[int] = []

    def inputs() -> Iterator[dict[str, list[str]]]:
        for number in range(1_000_000):
            read.append(number)
            yield {"args": [str(number)]}

    results = client.map(HELLO, inputs(), ahead=8)
    first = [stdout(next(results)) for _ in range(3)]
    assert isinstance(results, Iterator)
    getattr(results, "close")()  # noqa: B009 - a generator, which its type does not say

    assert first == [b"0\n", b"1\n", b"2\n"]
    assert len(read) <= 3 + 8 + 1


def test_a_result_that_is_there_does_not_wait_for_one_before_it(client: Client) -> None:
    inputs = [{"limits": LONG, "wall_time_s": 30}, {"limits": LONG, "wall_time_s": 1}]

    results = client.map(LOOP, inputs, ordered=False)
    first = next(results)
    getattr(results, "close")()  # noqa: B009

    assert isinstance(first, JobResult)
    assert first.outcome.kind == "timed_out"
    assert first.receipt.claims.wall_time_ms < 20_000


def test_an_error_comes_in_its_place(client: Client) -> None:
    inputs: list[dict[str, object]] = [{"args": ["ab"]}, {"limits": TOO_MUCH}, {"args": ["cd"]}]

    yielded = list(client.map(HELLO, inputs, errors=True))
    raising = client.map(HELLO, inputs)

    assert [type(item) for item in yielded] == [JobResult, RefusedError, JobResult]
    assert stdout(next(raising)) == b"ba\n"
    with pytest.raises(RefusedError, match="gas"):
        next(raising)


def test_an_error_of_the_inputs_is_raised(client: Client) -> None:
    def inputs() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        list(client.map(HELLO, inputs()))


def test_wrong_terms_are_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="arg"):
        list(client.map(HELLO, [b""], arg=["x"]))  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="term wall"):
        list(client.map(HELLO, [{"wall": 1}]))


def test_no_daemon_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(tmp_path / "s"))

    with Client() as lonely, pytest.raises(PeerUnreachableError):
        list(lonely.map(HELLO, [b"a"]))


def test_in_a_trio_program(client: Client) -> None:
    async def run() -> list[bytes]:
        async with open_client() as opened, opened.map(HELLO, [b"ab", b"cd"]) as results:
            return [stdout(item) async for item in results]

    assert trio.run(run) == [b"ba", b"dc"]


def test_futures_complete(client: Client) -> None:
    with PlasmExecutor(client) as executor:
        futures = {executor.submit(HELLO, args=[f"v{n}"]): n for n in range(10)}
        found = {futures[future]: future.result().stdout for future in as_completed(futures, DEADLINE_S)}

    assert found == {n: f"v{n}"[::-1].encode() + b"\n" for n in range(10)}


def test_an_executor_maps(client: Client) -> None:
    with PlasmExecutor(client, max_workers=2) as executor:
        found = [item.stdout for item in executor.map(HELLO, [b"ab", b"cd"], timeout=DEADLINE_S)]

    assert found == [b"ba", b"dc"]


def test_a_future_that_is_not_sent_can_be_cancelled(client: Client) -> None:
    with PlasmExecutor(client, max_workers=1, limits=LONG, wall_time_s=2) as executor:
        futures = [executor.submit(LOOP) for _ in range(5)]
        while not futures[0].running():
            threading.Event().wait(0.01)
        cancelled = futures[-1].cancel()
        executor.shutdown(wait=False, cancel_futures=True)

    assert cancelled
    assert futures[0].result().outcome.kind == "timed_out"
    with pytest.raises(CancelledError):
        futures[-2].result(DEADLINE_S)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(HELLO)


def test_a_future_has_the_error_of_its_own_job(client: Client, tmp_path: Path) -> None:
    with PlasmExecutor(client) as executor:
        good = executor.submit(HELLO, b"ab")
        refused = executor.submit(HELLO, limits=TOO_MUCH)
        missing = executor.submit(tmp_path / "nothing.wasm")
        also_good = executor.submit(HELLO, b"cd")
        done, _ = wait([good, refused, missing, also_good], DEADLINE_S)

    assert len(done) == 4
    assert (good.result().stdout, also_good.result().stdout) == (b"ba", b"dc")
    assert isinstance(refused.exception(), RefusedError)
    assert isinstance(missing.exception(), FileNotFoundError)


def test_futures_fail_without_a_daemon_and_the_executor_stays_usable(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(tmp_path / "s"))
    with PlasmExecutor() as executor:
        failed = executor.submit(HELLO, b"ab")
        assert isinstance(failed.exception(DEADLINE_S), PeerUnreachableError)
        monkeypatch.setenv("PLASM_SOCKET", daemon.environ["PLASM_SOCKET"])

        assert executor.submit(HELLO, b"ab").result(DEADLINE_S).stdout == b"ba"


def test_an_executor_that_nobody_has_ends_its_thread(client: Client) -> None:
    executor = PlasmExecutor(client)
    future, gone = executor.submit(HELLO, b"ab"), weakref.ref(executor)
    thread = next(item for item in threading.enumerate() if item.name == "plasm-executor")
    del executor

    assert future.result(DEADLINE_S).stdout == b"ba"
    thread.join(DEADLINE_S)
    assert gone() is None
    assert not thread.is_alive()


@pytest.mark.parametrize("workers", [0, -1])
def test_workers_are_at_least_one(workers: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        PlasmExecutor(max_workers=workers)
