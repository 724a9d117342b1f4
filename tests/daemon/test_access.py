"""Only who has the handle opens a job, and only who has a module runs it."""

from __future__ import annotations

import hashlib
import hmac
import os

import pytest

from plasm_core.client import Client, Submission
from plasm_core.client.upload import Bytes
from plasm_core.protocol.channels import Channel
from plasm_core.protocol.messages import (
    NOTHING,
    Accepted,
    AskStatus,
    Attach,
    Attached,
    Cancel,
    Error,
    Message,
    Offered,
    Outputs,
    Possessed,
    Refused,
    Release,
    StatusIs,
    Uploads,
)
from plasm_core.records import Handle, PeerId
from tests.daemon.conftest import HELLO
from tests.support.conversing import calling
from tests.support.daemon import Daemon
from tests.support.wat import padded, writing

ANOTHER = PeerId.parse("12D3KooWD2Ewm7dP3TgNNEoHbu52hxMG9pta43Rh9xGwQbJnV6yQ")


@pytest.fixture(autouse=True)
def _here(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library find the daemon."""
    monkeypatch.setenv("PLASM_SOCKET", str(daemon.socket))


@pytest.fixture(scope="module")
def handle(daemon: Daemon) -> Handle:
    """A job's handle."""
    return Handle.parse(daemon.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip())


def _attach(job_id: str, token: str) -> Message:
    return Attach(job_id=job_id, token=token, credit=NOTHING, offsets=NOTHING, attempt=0)


@pytest.mark.parametrize("ask", [AskStatus, Cancel, Release, _attach])
def test_without_the_handle_a_job_is_unknown(daemon: Daemon, handle: Handle, ask: type[AskStatus]) -> None:
    right = handle.token().hex()
    others = {
        "by a receipt's job id alone": (handle.job_id, os.urandom(32).hex()),
        "another node's token": (handle.job_id, handle.token(ANOTHER).hex()),
        "the hash of the token": (handle.job_id, hashlib.sha256(handle.token()).hexdigest()),
        "another job's token": ("00" * 32, right),
        "no such job": ("00" * 32, os.urandom(32).hex()),
    }
    answers = {}
    for name, (job_id, token) in others.items():
        with calling(daemon.socket) as caller:
            caller.ask(ask(job_id=job_id, token=token))
            answers[name] = caller.refusal()
    with calling(daemon.socket) as caller:
        caller.ask(AskStatus(job_id=handle.job_id, token=right))
        status = caller.expect(StatusIs)

    unknown = Refused(reason="unknown_job", message="this token opens no job of this id")
    assert answers == dict.fromkeys(others, unknown)
    assert status.status.state in ("QUEUED", "INITIALIZING", "RUNNING", "COMPLETE")


def test_the_same_manifest_with_another_token_is_another_job(daemon: Daemon) -> None:
    mine = Submission.of(HELLO.read_bytes(), stdin=b"abc")
    theirs = Submission(manifest_json=mine.manifest_json, sources=mine.sources)
    first = Client().run(mine, timeout_s=60)

    with calling(daemon.socket) as caller:
        caller.submit(theirs)
        said = caller.receive()

    assert isinstance(said, Offered)
    assert said.received == Uploads(module=0, args=0, env=0, stdin=0)
    assert Client().run(theirs, timeout_s=60).handle.secret != first.handle.secret


def _fresh(text: bytes) -> Submission:
    return Submission.of(writing(text + os.urandom(8).hex().encode()))


def _again(job: Submission, module: bytes | None = None) -> Submission:
    """Return another job of the same module, as one has it who has only its digest, or `module` for it."""
    sources = dict(job.sources)
    if module is not None:
        sources[Channel.MODULE] = Bytes(module)
    nonce = os.urandom(16).hex().encode()
    return Submission(
        manifest_json=job.manifest_json.replace(job.manifest.nonce.encode(), nonce), sources=sources
    )


def _proof(job: Submission, offered: Offered) -> str:
    return job.sources[Channel.MODULE].proof(bytes.fromhex(offered.challenge))


def test_a_client_that_has_a_stored_module_need_not_send_it(daemon: Daemon) -> None:
    job = _fresh(b"known")
    Client().run(job, timeout_s=60)
    again = _again(job)
    with calling(daemon.socket) as caller:
        handle = caller.submit(again)
        offered = caller.expect(Offered)
        caller.sock.sendall(caller.conversation.prove(_proof(job, offered)))
        answer = caller.expect(Possessed)
        sent = caller.upload(again)
        caller.expect(Accepted)

    assert answer.known
    assert sent == sum(source.size_bytes for source in again.sources.values()) - offered.credit.module
    assert Client().result(handle, timeout_s=60).receipt.result.outcome.ok


def test_a_wrong_proof_and_an_unknown_module_get_the_same_answer(daemon: Daemon) -> None:
    here, absent = _fresh(b"here"), _fresh(b"absent")
    Client().run(here, timeout_s=60)
    size = here.sizes.module
    asked = [
        (_again(here), None, "00" * 32),
        (_again(here), size - 1, None),
        (_again(here), size + 1, None),
        (_again(absent), None, "00" * 32),
        (_again(absent), None, None),
    ]
    answers = []
    for job, announced, proof in asked:
        sizes = job.sizes if announced is None else Uploads(module=announced, args=0, env=0, stdin=0)
        with calling(daemon.socket) as caller:
            caller.submit(job, sizes=sizes)
            offered = caller.expect(Offered)
            caller.sock.sendall(caller.conversation.prove(proof or _proof(job, offered)))
            answers.append(caller.expect(Possessed))

    assert answers == [Possessed(known=False)] * len(asked)


def test_a_client_that_has_only_a_modules_digest_cannot_run_it(daemon: Daemon) -> None:
    secret = _fresh(b"a secret of its module")
    Client().run(secret, timeout_s=60)
    guess = bytes(secret.sizes.module)
    thief = _again(secret, guess)
    with calling(daemon.socket) as caller:
        caller.submit(thief)
        offered = caller.expect(Offered)
        digest = secret.sources[Channel.MODULE].digest
        proof = hashlib.sha256(bytes.fromhex(offered.challenge) + bytes.fromhex(digest)).hexdigest()
        caller.sock.sendall(caller.conversation.prove(proof))
        answer = caller.expect(Possessed)
        caller.upload(thief)
        refused = caller.refusal()

    assert not answer.known
    assert (refused.reason, refused.message) == (
        "digest_mismatch",
        "the module is not what the manifest names",
    )


def test_a_proof_is_valid_only_for_its_own_challenge(daemon: Daemon) -> None:
    job = _fresh(b"replayed")
    Client().run(job, timeout_s=60)
    again = _again(job)
    challenges, known = [], []
    for _ in range(2):
        with calling(daemon.socket) as caller:
            caller.submit(again)
            offered = caller.expect(Offered)
            challenges.append(offered.challenge)
            old = hashlib.sha256(bytes.fromhex(challenges[0]))
            for offset in range(0, job.sizes.module, 1 << 16):
                old.update(job.sources[Channel.MODULE].read(offset, 1 << 16))
            if len(challenges) == 2:
                caller.sock.sendall(caller.conversation.prove(old.hexdigest()))
                known.append(caller.expect(Possessed).known)

    assert challenges[0] != challenges[1]
    assert known == [False]


def test_a_proof_after_part_of_the_module_came_another_way_leaves_nothing_behind(daemon: Daemon) -> None:
    job = Submission.of(padded(writing(os.urandom(8)), 1 << 21))
    first = Submission.of(job.sources[Channel.MODULE], stdin=b"1")
    second = Submission.of(job.sources[Channel.MODULE], stdin=b"2")
    with calling(daemon.socket) as caller:
        caller.submit(second)
        caller.expect(Offered)
        caller.upload(second, 1_500_000)
    Client().submit(first, timeout_s=60)
    with calling(daemon.socket) as caller:
        caller.submit(second)
        offered = caller.expect(Offered)
        caller.sock.sendall(caller.conversation.prove(_proof(job, offered)))
        known = caller.expect(Possessed).known
        caller.upload(second)
        caller.expect(Accepted)

    assert offered.received.module > 0
    assert known
    assert list((daemon.state / "modules" / "incoming").iterdir()) == []


def test_a_released_job_is_not_run_again(daemon: Daemon) -> None:
    job = Submission.of(HELLO.read_bytes(), stdin=b"abc")
    handle = Client().run(job, timeout_s=60).handle
    Client().release(handle)

    with calling(daemon.socket) as caller:
        caller.submit(job)
        refused = caller.refusal()

    assert refused.reason == "released"


def test_a_follower_is_told_when_the_job_is_released_meanwhile(daemon: Daemon) -> None:
    handle = Client().submit(writing(bytes(50_000), times=50))
    Client().wait(handle, timeout_s=60)
    with calling(daemon.socket) as caller:
        caller.ask(
            Attach(
                job_id=handle.job_id,
                token=handle.token().hex(),
                credit=Outputs(stdout=1000, stderr=0),
                offsets=NOTHING,
                attempt=0,
            )
        )
        caller.expect(Attached)
        caller.consume(1000)
        Client().release(handle)
        caller.sock.sendall(caller.conversation.credit(Channel.STDOUT, 1 << 20))
        error = caller.expect(Error)

    assert error.code == "released"


def test_tokens_are_made_as_the_document_says(handle: Handle) -> None:
    expected = hmac.new(handle.secret, handle.peer.multihash, "sha256").digest()

    assert handle.token() == expected
