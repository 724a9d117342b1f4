"""Verify, show and export receipts with the real command, and handle keys with it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from plasm_core.records import Envelope, PeerId, Receipt
from plasm_core.signing import sign_receipt
from tests.support.cli import FAILURE, HELLO, OK, REJECTED, UNDECIDED, USAGE, Done, Plasm
from tests.support.distributions import Site
from tests.support.receipts import OTHER_SIGNER, countersigned

Here = Callable[..., Done]


@attrs.frozen
class Job:
    """A job that ran, and the files it left."""

    receipt: Path
    output: Path
    manifest: Path
    peer: PeerId

    @property
    def envelope(self) -> Envelope:
        return Envelope.from_json(self.receipt.read_bytes())


@pytest.fixture(scope="module")
def job(plasm: Plasm, tmp_path_factory: pytest.TempPathFactory) -> Job:
    directory = tmp_path_factory.mktemp("job")
    receipt, output, manifest = (directory / name for name in ("receipt.json", "output", "manifest.json"))
    done = plasm("run", HELLO, "--receipt", str(receipt), "--manifest", str(manifest))
    output.write_bytes(done.out)
    peer = json.loads(plasm("key", "show", "--json").out)["peerId"]
    return Job(receipt=receipt, output=output, manifest=manifest, peer=PeerId.parse(peer))


def test_ones_own_receipt_is_verified_by_all_that_one_has(plasm: Plasm, job: Job) -> None:
    done = plasm(
        *("verify", str(job.receipt), "--stdout", str(job.output), "--stderr", "/dev/null"),
        *("--stdin", "/dev/null", "--module", HELLO, "--manifest", str(job.manifest)),
    )

    assert (done.code, done.err) == (OK, "")
    what = "module, stdin, stdout, stderr, job, task as expected"
    expected = f"✓ receipt verified ✓ signed by {job.peer}, {what}, not re-executed"
    assert done.out.decode().splitlines() == [expected, "the job  exited with code 0"]


def test_a_quiet_verification_says_only_why_it_fails(here: Here, job: Job) -> None:
    good = here("verify", "--quiet", str(job.receipt))
    bad = here("verify", "-q", str(job.receipt), "--stdout", HELLO)
    stranger = here("verify", "-q", str(job.receipt), "--key", str(OTHER_SIGNER.peer_id))

    assert (good.code, good.out, good.err) == (OK, b"", "")
    assert (bad.code, b"stdout is not what the receipt says" in bad.out) == (REJECTED, True)
    assert (stranger.code, b"a key that is not trusted here" in stranger.out) == (UNDECIDED, True)


def test_a_receipt_is_run_again_by_one_word(here: Here, job: Job) -> None:
    done = here("verify", str(job.receipt), "--module", HELLO, "--reexecute")

    assert done.code == OK
    assert b", re-executed on " in done.out


@pytest.mark.parametrize("option", ["--stdout", "--stderr"])
def test_an_output_without_an_end_differs_as_soon_as_it_is_longer_than_the_receipts_say(
    plasm: Plasm, job: Job, option: str
) -> None:
    done = plasm("verify", str(job.receipt), option, "/dev/zero")

    assert done.code == REJECTED
    assert "no receipt states that much output" in done.err
    assert f"{option.removeprefix('--')} is not what the receipt says" in done.out.decode()


def test_an_output_that_comes_by_a_pipe_is_compared_whole(plasm: Plasm, job: Job) -> None:
    done = plasm("verify", str(job.receipt), "--stdout", "-", stdin=job.output.read_bytes())

    assert (done.code, done.err) == (OK, "")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ((), "is about running the task again: it has no effect without --module"),
        (("--module", HELLO), "which no verifier does: add --verifier reexecute"),
    ],
)
def test_verify_refuses_a_sandbox_for_a_run_that_will_not_be(
    plasm: Plasm, job: Job, more: tuple[str, ...], reason: str
) -> None:
    done = plasm("verify", str(job.receipt), "--require-sandbox", "seccomp", *more)

    assert (done.code, done.out) == (USAGE, b"")
    assert "--require-sandbox" in done.err
    assert reason in " ".join(done.err.split())


def test_verify_gives_one_json_document(plasm: Plasm, job: Job) -> None:
    done = plasm("verify", str(job.receipt), "--stdout", str(job.output), "--json")

    assert json.loads(done.out) == {
        "decision": "accept",
        "established": ["stdout", "signature"],
        "reasons": [],
        "signer": str(job.peer),
        "signers": [str(job.peer)],
        "standing": "own",
        "words": f"receipt verified ✓ signed by {job.peer}, not re-executed",
        "outcome": {"kind": "exited", "code": 0, "trap": None, "detail": None},
        "lacking": None,
        "fraudProof": None,
    }


@pytest.mark.parametrize(
    ("require", "code"),
    [
        ("signature", 0),
        ("known", 0),
        ("reexecution", 8),
        ("quorum", 8),
        ("audit", 8),
        ("everything", 3),
    ],
)
def test_verify_asks_for_what_is_required(here: Here, job: Job, require: str, code: int) -> None:
    """A receipt by itself cannot be run again, and is one node's."""
    by_flag = here("verify", str(job.receipt), "--require", require)
    by_setting = here("verify", str(job.receipt), "--set", f"plasm.require={require}")

    assert (by_flag.code, by_setting.code) == (code, code), by_flag.err


def test_a_node_that_the_configuration_knows_is_trusted_and_named(
    here: Here, theirs: Path, tmp_path: Path
) -> None:
    known = ("--set", f'plasm.known=["{OTHER_SIGNER.peer_id}"]', "--require", "known")

    assert here("verify", str(theirs)).code == UNDECIDED
    done = here("verify", str(theirs), *known)
    assert done.code == OK
    assert f"signed by {OTHER_SIGNER.peer_id}, a node that you named, not re-executed" in done.out.decode()


@pytest.fixture(scope="module")
def theirs(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another node's receipt of the same job."""
    mine = Receipt.from_statement(job.envelope.payload)
    path = tmp_path_factory.mktemp("theirs") / "theirs.json"
    path.write_bytes(sign_receipt(attrs.evolve(mine, node=OTHER_SIGNER.peer_id), OTHER_SIGNER).to_json())
    return path


def test_receipts_of_several_nodes_are_judged_together(here: Here, job: Job, theirs: Path) -> None:
    keys = ("--key", str(job.peer), "--key", str(OTHER_SIGNER.peer_id))
    both = ("verify", str(job.receipt), str(theirs), "--verifier", "signature,quorum")

    done = here(*both, *keys)
    assert done.code == OK
    assert done.out.decode().splitlines()[0] == (
        f"✓ receipt verified ✓ signed by {job.peer}, {OTHER_SIGNER.peer_id}, nodes that you named, "
        "agreed on by 2 nodes, not re-executed"
    )
    assert here(*both, *keys[:2]).code == UNDECIDED
    assert here(*both[:2], *both[3:], *keys).code == UNDECIDED


def test_of_several_receipts_the_wrong_one_is_named(here: Here, job: Job, theirs: Path) -> None:
    done = here("verify", str(job.receipt), str(theirs), "--stdout", "/dev/null")

    assert done.code == REJECTED
    for number in (1, 2):
        assert f"receipt {number} of 2: stdout is not what the receipt says" in done.out.decode()


def test_without_a_key_one_trusts_nothing_is_decided(stranger: Plasm, job: Job) -> None:
    done = stranger("verify", str(job.receipt))

    assert done.code == UNDECIDED
    assert done.out.decode() == (
        f"? receipt undecided: signed by {job.peer}, a key that is not trusted here\n"
    )
    assert not (stranger.home / "state").exists()


def test_a_key_one_names_is_trusted(stranger: Plasm, here: Here, job: Job, tmp_path: Path) -> None:
    (tmp_path / "pub.pem").write_bytes(here("key", "show", "--pem").out)
    verify = ("verify", str(job.receipt), "--key", str(OTHER_SIGNER.peer_id))

    assert stranger(*verify, "--key", str(tmp_path / "pub.pem")).code == OK
    for key in (str(job.peer), job.peer.public_key.hex(), str(tmp_path / "pub.pem")):
        assert here(*verify, "--key", key).code == OK
    assert here(*verify).code == UNDECIDED


def test_a_receipt_may_come_from_a_pipe(plasm: Plasm, job: Job) -> None:
    assert plasm("verify", "-", stdin=job.receipt.read_bytes()).code == OK


def rejected(here: Here, *arguments: str) -> str:
    done = here("verify", *arguments)
    assert done.code == REJECTED
    assert done.out.decode().startswith("✗ receipt rejected: ")
    return done.out.decode()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("part", [0, 0.25, 0.5, 0.99])
def test_a_flipped_byte_of_the_payload_is_rejected(here: Here, job: Job, tmp_path: Path, part: float) -> None:
    """All positions are in tests/records/test_tampering.py."""
    envelope = job.envelope
    payload = flipped(envelope.payload, int(part * len(envelope.payload)))
    (tmp_path / "r.json").write_bytes(attrs.evolve(envelope, payload=payload).to_json())

    assert len(rejected(here, str(tmp_path / "r.json"))) > 30


@pytest.mark.parametrize("at", [0, 31, 63])
def test_a_flipped_byte_of_the_signature_is_rejected(here: Here, job: Job, tmp_path: Path, at: int) -> None:
    (signature,) = job.envelope.signatures
    changed = attrs.evolve(signature, sig=flipped(signature.sig, at))
    (tmp_path / "r.json").write_bytes(attrs.evolve(job.envelope, signatures=(changed,)).to_json())

    assert f"no signature of {job.peer}" in rejected(here, str(tmp_path / "r.json"))


@pytest.mark.parametrize("at", [0, 6, 12])
def test_a_flipped_byte_of_the_output_is_rejected(here: Here, job: Job, tmp_path: Path, at: int) -> None:
    (tmp_path / "output").write_bytes(flipped(job.output.read_bytes(), at))

    reason = rejected(here, str(job.receipt), "--stdout", str(tmp_path / "output"))
    assert "stdout is not what the receipt says" in reason


@pytest.mark.parametrize("option", ["--module", "--stdin", "--stderr", "--manifest"])
def test_another_file_than_the_receipt_speaks_of_is_rejected(here: Here, job: Job, option: str) -> None:
    file = job.receipt if option == "--manifest" else job.output

    assert rejected(here, str(job.receipt), option, str(file))


def test_a_manifest_with_another_nonce_is_rejected(here: Here, job: Job, tmp_path: Path) -> None:
    manifest = json.loads(job.manifest.read_bytes())
    (tmp_path / "m.json").write_text(json.dumps({**manifest, "nonce": "00" * 16}))

    reason = rejected(here, str(job.receipt), "--manifest", str(tmp_path / "m.json"))
    assert "the job is not what the receipt says" in reason


def test_show_says_what_the_receipt_says_and_that_it_is_unchecked(here: Here, job: Job) -> None:
    done = here("receipt", "show", str(job.receipt))

    assert done.err == "! not checked here: see plasm verify\n"
    assert "outcome        exited with code 0" in done.out.decode()
    assert str(job.peer) in done.out.decode()
    assert json.loads(here("receipt", "show", str(job.receipt), "--json").out) == json.loads(
        job.envelope.payload
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_show_says_that_a_receipt_contradicts_itself(
    here: Here, job: Job, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """`plasm receipt show` warns of an impossible receipt; only `plasm verify` rejects it."""
    statement = json.loads(job.envelope.payload)
    statement["predicate"]["result"]["gasUsed"] = "0"
    statement["predicate"]["claims"]["wallTimeMs"] = "900000"
    payload = json.dumps(statement).encode()
    (tmp_path / "r.json").write_bytes(attrs.evolve(job.envelope, payload=payload).to_json())

    done = here("receipt", "show", str(tmp_path / "r.json"), *options)
    assert done.code == OK
    assert "✗ the receipt contradicts itself: gas-covers-run\n" in done.err
    assert "✗ the receipt contradicts itself: wall-time-is-span\n" in done.err


@pytest.mark.parametrize("number", ["1e400", "-1e999", "9" * 1_000, "0." + "3" * 900])
def test_numbers_that_no_program_holds_are_shown_as_json(
    here: Here, job: Job, tmp_path: Path, number: str
) -> None:
    """Python would print `Infinity`, which other programs refuse to read."""
    payload = job.envelope.payload[:-1] + f',"unknown":{number}}}'.encode()
    (tmp_path / "r.json").write_bytes(attrs.evolve(job.envelope, payload=payload).to_json())

    shown = here("receipt", "show", str(tmp_path / "r.json"), "--json").out

    assert json.loads(shown, parse_constant=pytest.fail)["predicateType"] == "urn:phase:receipt:v0"


def test_export_writes_the_envelope_or_a_bundle(here: Here, job: Job, tmp_path: Path) -> None:
    envelope = json.loads(job.envelope.to_json())
    bundle = tmp_path / "bundle.json"

    assert json.loads(here("receipt", "export", str(job.receipt)).out) == envelope
    done = here("receipt", "export", str(job.receipt), "--format", "sigstore", "-o", str(bundle))
    assert (done.code, done.out) == (OK, b"")
    exported = json.loads(bundle.read_bytes())
    assert exported["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert exported["dsseEnvelope"] == envelope


def test_a_co_signed_receipt_is_verified_by_either_key_it_may_name(
    here: Here, job: Job, tmp_path: Path
) -> None:
    (tmp_path / "r.json").write_bytes(countersigned(job.envelope, OTHER_SIGNER).to_json())

    assert here("verify", str(tmp_path / "r.json")).code == OK


def test_no_other_verifier_stands_in_for_a_trusted_key(plasm: Plasm, job: Job, tmp_path: Path) -> None:
    """Exit code 0 means a trusted key under every configuration."""
    Site(tmp_path).verifier("plasm-test-credulous", "credulous")
    (signature,) = job.envelope.signatures
    forged = attrs.evolve(signature, sig=bytes(64))
    (tmp_path / "r.json").write_bytes(attrs.evolve(job.envelope, signatures=(forged,)).to_json())
    done = plasm(
        "verify", str(tmp_path / "r.json"), "--verifier", "credulous", env={"PYTHONPATH": str(tmp_path)}
    )

    assert done.code in (REJECTED, UNDECIDED)


@pytest.fixture
def surrogate(job: Job, tmp_path: Path) -> str:
    """A receipt with a lone surrogate, which is no Unicode text, in a field that readers ignore."""
    payload = json.dumps({**json.loads(job.envelope.payload), "\ud800": "\ud800"}).encode()
    (tmp_path / "r.json").write_bytes(attrs.evolve(job.envelope, payload=payload).to_json())
    return str(tmp_path / "r.json")


def test_any_receipt_can_be_shown_as_json(here: Here, surrogate: str) -> None:
    assert here("receipt", "show", surrogate, "--json").code in (OK, FAILURE)


def test_any_receipt_can_be_verified(here: Here, surrogate: str) -> None:
    assert here("verify", surrogate).code == REJECTED
    assert here("verify", surrogate, "--json").code == REJECTED


def test_a_key_is_made_once_and_never_replaced(stranger: Plasm, here: Here) -> None:
    made = stranger("key", "new", "--json")
    found = json.loads(made.out)
    mine = ("--set", f"signer.ed25519.key={found['file']}")
    again = here("key", "new", *mine)

    assert made.code == OK
    assert Path(found["file"]).stat().st_mode & 0o777 == 0o600
    assert again.code == FAILURE
    assert again.err.startswith(f"error: there is a key at {found['file']} already")
    shown = json.loads(stranger("key", "show", "--json").out)
    assert shown == {name: found[name] for name in ("peerId", "publicKey", "keyid")}
    assert found["peerId"] in here("key", "show", *mine).out.decode()


def test_showing_a_key_makes_none(here: Here, tmp_path: Path) -> None:
    done = here("key", "show", "--set", f"signer.ed25519.key={tmp_path}/missing")

    assert (done.code, done.out) == (FAILURE, b"")
    assert done.err.splitlines()[1] == "hint: make one with: plasm key new"
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_signs_nothing(stranger: Plasm) -> None:
    file = Path(json.loads(stranger("key", "new", "--json").out)["file"])
    file.chmod(0o640)
    done = stranger("run", HELLO)

    assert (done.code, done.out) == (FAILURE, b"")
    assert done.err.splitlines() == [
        f"error: the key {file} is open to other users",
        f"hint: close it with: chmod 600 {file}",
    ]


@pytest.mark.parametrize(
    ("file", "command", "code"),
    [
        ("node.key", ("key", "show"), FAILURE),
        ("node.key", ("run", HELLO), FAILURE),
        ("entry-points.json", ("plugins",), OK),
        ("jobs/handles.jsonl", ("jobs",), FAILURE),
        ("cache.key", ("run", HELLO), FAILURE),
    ],
)
def test_a_pipe_in_place_of_a_file_that_plasm_keeps_is_not_waited_for(
    stranger: Plasm, file: str, command: tuple[str, ...], code: int
) -> None:
    path = stranger.home / "state" / "plasm" / file
    path.parent.mkdir(mode=0o700, parents=True)
    os.mkfifo(path, mode=0o600)

    done = stranger(*command)

    assert done.code == code
    assert ("it is no regular file" in done.err) is (code != OK)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_openssl_reads_the_public_key(plasm: Plasm, job: Job, tmp_path: Path) -> None:
    (tmp_path / "pub.pem").write_bytes(plasm("key", "show", "--pem").out)
    command = ["openssl", "pkey", "-pubin", "-in", str(tmp_path / "pub.pem"), "-outform", "DER"]
    der = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout

    assert der[-32:] == job.peer.public_key
