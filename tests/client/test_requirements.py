"""What the client for programs that wait requires of a result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from plasm_core import Client
from plasm_core.errors import ConfigError, JobFailedError
from plasm_core.records.manifest import DEFAULT_LIMITS
from tests.support.daemon import Daemon
from tests.support.sweeping import HELLO


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as started:
        started.start()
        yield started


@pytest.fixture(autouse=True)
def socket(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.parametrize("require", ["signature", "known", None])
def test_ones_own_daemon_suffices(require: str | None) -> None:
    client = Client(require=require)

    assert client.run(HELLO, stdin=b"abc", timeout_s=60).stdout == b"cba"
    handle = client.submit(HELLO, stdin=b"abc")
    assert client.result(handle, timeout_s=60).stdout == b"cba"


@pytest.mark.parametrize("require", ["everything", "", "KNOWN"])
def test_an_unknown_requirement_is_refused(require: str) -> None:
    with pytest.raises(ConfigError, match="expected one of signature, known, reexecution, quorum, audit"):
        Client(require=require).run(HELLO)


def test_what_is_required_chooses_its_verifier() -> None:
    verdict = Client(require="audit").run(HELLO, stdin=b"abc", timeout_s=60).verdict

    assert {"signature", "audit"} <= set(verdict.established)


def test_a_failed_job_is_distinguished_from_a_successful_one() -> None:
    client = Client()

    done = client.run(HELLO, stdin=b"abc", timeout_s=60)
    failed = client.run(HELLO, limits=attrs.evolve(DEFAULT_LIMITS, gas=1000), timeout_s=60)

    assert done.check() is done
    assert str(done.verdict).startswith("receipt verified ✓ signed by 12D3KooW")
    assert str(done.verdict).endswith(", not re-executed; the job exited with code 0")
    assert str(failed.verdict).endswith("; the job failed: out of gas")
    with pytest.raises(JobFailedError, match=r"^the job failed: out of gas$") as raised:
        failed.check()
    assert raised.value.result is failed
