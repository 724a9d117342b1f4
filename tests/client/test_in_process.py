"""Hold the client without a daemon: it returns what the others return, and passes output on as it comes."""

from __future__ import annotations

import attrs
import pytest

from plasm_core import config, execution
from plasm_core.assurance import Standing
from plasm_core.client import Submission, upload
from plasm_core.client.in_process import InProcessClient
from plasm_core.client.output import Buffer
from plasm_core.protocol.messages import Status
from plasm_core.records import Decision, job_id
from plasm_core.records.digest import sha256
from plasm_core.records.output import OutputStream
from tests.support.wat import exiting, writing

pytestmark = pytest.mark.usefixtures("homes")


def test_a_job_in_this_process_gives_a_result_as_a_daemon_does() -> None:
    phases: list[tuple[str, Status | None]] = []
    submission, output = Submission.of(writing(b"words\n")), Buffer(1 << 20)

    found = InProcessClient(config.load(environ={})).run(
        submission, sink=output, watch=lambda phase, status: phases.append((phase, status))
    )

    assert (found.ok, found.state, found.standing) == (True, "COMPLETE", Standing.OWN)
    assert found.verdict.decision is Decision.ACCEPT
    assert found.handle.job_id == found.receipt.asked.job_id == job_id(submission.manifest_json)
    assert found.handle.peer == found.receipt.node == found.verdict.signer
    assert output.take(OutputStream.STDOUT) == b"words\n"
    assert phases[-1] == ("running", None)


def test_a_module_in_memory_is_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 26 MB, hashing took a thirtieth of a second run's time. A file's bytes may have changed since."""
    code, hashed = writing(b"words\n"), 0

    def counting(data: bytes) -> str:
        nonlocal hashed
        hashed += data == code
        return sha256(data)

    for module in (execution, upload):
        monkeypatch.setattr(module, "sha256", counting)
    monkeypatch.setattr(upload, "_digest_of", counting)

    found = InProcessClient(config.load(environ={})).run(Submission.of(code), sink=Buffer(1 << 20))

    assert (found.ok, hashed) == (True, 1)


def test_the_grants_that_a_job_asks_for_are_given_by_its_own_user() -> None:
    submission = Submission.of(exiting(0), grants=["clock.real"])

    found = InProcessClient(config.load(environ={})).run(submission, sink=Buffer(0))

    assert found.receipt.asked.capabilities == ("clock.real",)


def test_what_is_required_chooses_its_verifier() -> None:
    settings = config.load(environ={})
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, require="audit"))

    found = InProcessClient(settings).run(Submission.of(writing(b"words\n")), sink=Buffer(1 << 20))

    assert {"signature", "audit"} <= set(found.verdict.established)
