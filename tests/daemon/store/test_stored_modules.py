"""Modules: what is kept is what was named, within the quota, and never thrown out under a job."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

from plasm_core.config import StorageLimits
from plasm_core.daemon.store import Store
from plasm_core.errors import RefusedError, StorageError, StorageFullError
from plasm_core.fair_shares import Holder
from plasm_core.records import sha256
from tests.daemon.store.submission import EXITED, LIMITS, accepted, staged, submission, upload

LARGE = [bytes([number]) * 1000 for number in range(5)]
THREE_FIT = attrs.evolve(LIMITS, module_bytes=3500)


def names(store: Store) -> list[int]:
    return [number for number, module in enumerate(LARGE) if sha256(module) in store.modules]


def stored(state: Path, module: bytes) -> Path:
    digest = sha256(module)
    return state / "modules" / digest[:2] / digest


def test_a_module_is_kept_under_its_digest(store: Store, state: Path) -> None:
    upload(store, b"module")

    assert stored(state, b"module").read_bytes() == b"module"
    assert store.modules.read(sha256(b"module")) == b"module"
    assert list((state / "modules" / "incoming").iterdir()) == []


@pytest.mark.parametrize("sent", [b"module?", b"modul", b"modulf", b""])
def test_an_upload_other_than_announced_is_refused(store: Store, state: Path, sent: bytes) -> None:
    taking = store.modules.upload(sha256(b"module"), 6)

    def send() -> None:
        for byte in sent:
            taking.write(bytes([byte]))
        taking.commit()

    with pytest.raises(RefusedError) as caught:
        send()
    taking.discard()

    assert caught.value.reason == "digest_mismatch"
    assert sha256(b"module") not in store.modules
    assert [path for path in (state / "modules").rglob("*") if path.is_file()] == []
    assert store.modules.used_bytes == 0


def test_the_least_recently_used_goes_first(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        for module in LARGE[:3]:
            upload(store, module)
        pin = store.modules.pin(sha256(LARGE[0]))
        assert pin is not None
        pin.release()

        upload(store, LARGE[3])

        assert names(store) == [0, 2, 3]
        assert not stored(state, LARGE[1]).exists()
        assert store.modules.used_bytes == 3000


def test_the_order_of_use_survives_a_restart(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        for module in LARGE[:3]:
            upload(store, module)
    for number, module in enumerate(LARGE[:3]):
        os.utime(stored(state, module), (0, 1000 - number))

    with Store(state, THREE_FIT) as store:
        upload(store, LARGE[3])
        assert names(store) == [0, 1, 3]


def test_pinned_modules_stay_and_an_upload_that_does_not_fit_deletes_nothing(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        for module in LARGE[:3]:
            upload(store, module)
        pins = [store.modules.pin(sha256(module)) for module in LARGE[:2]]

        with pytest.raises(StorageFullError, match="no room for a module of 2000 bytes: the quota is 3500"):
            store.modules.upload("00" * 32, 2000)

        assert names(store) == [0, 1, 2]
        assert pins[0] is not None
        pins[0].release()
        pins[0].release()
        upload(store, bytes(2000))
        assert names(store) == [1]


def test_an_upload_that_is_never_committed_throws_out_nothing(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        for module in LARGE[:3]:
            upload(store, module)

        cut_short, wrong = (store.modules.upload("00" * 32, 1700) for _ in range(2))
        cut_short.write(bytes(1699))
        cut_short.discard()
        wrong.write(bytes(1700))
        with pytest.raises(RefusedError):
            wrong.commit()

        assert names(store) == [0, 1, 2]
        assert store.modules.used_bytes == 3000


FIRST, SECOND = (Holder(names=(f"peer-{number}", f"group-{number}")) for number in (1, 2))


def upload_of(store: Store, module: bytes, holder: Holder) -> None:
    taking = store.modules.upload(sha256(module), len(module), holder)
    taking.write(module)
    taking.commit().release()


def test_the_holder_with_most_modules_gives_first(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        upload_of(store, LARGE[0], FIRST)
        upload_of(store, LARGE[1], SECOND)
        upload_of(store, LARGE[2], SECOND)

        upload_of(store, LARGE[3], SECOND)
        assert names(store) == [0, 2, 3]
        upload_of(store, LARGE[4], FIRST)
        assert names(store) == [0, 3, 4]


def test_the_owner_of_a_module_survives_a_restart_with_its_jobs(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        for module, holder in ((LARGE[0], FIRST), (LARGE[1], SECOND), (LARGE[2], SECOND)):
            upload_of(store, module, holder)
            job = submission(module=module)
            accepted = store.accept(
                staged(store, job), manifest_json=job.manifest_json, token=b"t" * 32, holder=holder
            )
            store.finish(accepted.job.row, outcome=EXITED, envelope=b"{}")

    with Store(state, THREE_FIT) as store:
        upload_of(store, LARGE[3], FIRST)

        assert 0 in names(store)
        assert len(names(store)) == 3


def test_a_module_stays_its_first_holders_over_a_restart_though_others_use_it(state: Path) -> None:
    """Otherwise a restart would count a large module for the client that ran it last, and refuse its uploads."""

    def held(store: Store) -> list[int]:
        pin = store.modules.pin(sha256(LARGE[0]))
        assert pin is not None
        with pin:
            return [store.modules._shares.held(holder) for holder in (FIRST, SECOND)]

    with Store(state, THREE_FIT) as store:
        upload_of(store, LARGE[0], FIRST)
        for holder in (FIRST, SECOND):
            job = submission(module=LARGE[0])
            accepted = store.accept(
                staged(store, job), manifest_json=job.manifest_json, token=b"t" * 32, holder=holder
            )
            store.finish(accepted.job.row, outcome=EXITED, envelope=b"{}")
        before = held(store)

    with Store(state, THREE_FIT) as store:
        assert held(store) == before == [1000, 0]


def test_a_module_that_was_damaged_is_of_who_brings_it_again(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        upload_of(store, LARGE[0], FIRST)
        store.modules._path(sha256(LARGE[0])).write_bytes(b"damaged")
        with pytest.raises(StorageError):
            store.modules.read(sha256(LARGE[0]))
        upload_of(store, LARGE[0], SECOND)
        pin = store.modules.pin(sha256(LARGE[0]))

        assert [store.modules._shares.held(holder) for holder in (FIRST, SECOND)] == [0, 1000]
        assert pin is not None
        pin.release()


def test_one_holder_cannot_reserve_all_the_room(state: Path) -> None:
    with Store(state, attrs.evolve(LIMITS, module_bytes=8000)) as store:
        held = [store.modules.upload(f"{number:064x}", 1000, FIRST) for number in range(3)]
        with pytest.raises(StorageFullError, match="of this client"):
            store.modules.upload("ff" * 32, 1000, FIRST)

        held.append(store.modules.upload("ee" * 32, 1000, SECOND))
        with pytest.raises(StorageFullError):
            store.modules.upload("dd" * 32, 4000, SECOND)
        for taking in held:
            taking.discard()

        assert store.modules._shares.used == 0


def test_modules_in_use_are_of_their_holder_s_share_until_their_jobs_end(state: Path) -> None:
    with Store(state, attrs.evolve(LIMITS, module_bytes=4000)) as store:
        upload_of(store, LARGE[0], FIRST)
        assert store.modules._shares.held(FIRST) == 0
        pins = [store.modules.pin(sha256(LARGE[0])) for _ in range(2)]
        assert store.modules._shares.held(FIRST) == 1000
        for pin in pins:
            assert pin is not None
            pin.release()

        assert store.modules._shares.held(FIRST) == store.modules._shares.used == 0


def test_space_is_reserved_during_uploads(state: Path) -> None:
    with Store(state, THREE_FIT) as store:
        first = store.modules.upload("00" * 32, 2000)

        with pytest.raises(StorageFullError):
            store.modules.upload("11" * 32, 2000)

        first.discard()
        store.modules.upload("11" * 32, 2000).discard()


def test_a_live_jobs_module_stays_also_over_a_restart_and_then_may_go(state: Path) -> None:
    limits = attrs.evolve(LIMITS, module_bytes=1500)
    with Store(state, limits) as store:
        row = accepted(store, submission(module=LARGE[0])).row
        with pytest.raises(StorageFullError):
            upload(store, LARGE[1])

    with Store(state, limits) as store:
        store.recover()
        with pytest.raises(StorageFullError):
            upload(store, LARGE[1])
        job, _ = store.begin(row)
        assert store.modules.read(job.module) == LARGE[0]
        store.finish(row, outcome=EXITED, envelope=b"{}")
        upload(store, LARGE[1])
        assert names(store) == [1]


def test_an_upload_is_pinned_until_its_job_is(state: Path) -> None:
    with Store(state, attrs.evolve(LIMITS, module_bytes=1500)) as store:
        taking = store.modules.upload(sha256(LARGE[0]), 1000)
        taking.write(LARGE[0])
        with taking.commit(), pytest.raises(StorageFullError):
            upload(store, LARGE[1])
        upload(store, LARGE[1])
        assert names(store) == [1]


def test_one_module_uploaded_by_many_at_once_is_kept_once(store: Store) -> None:
    barrier = threading.Barrier(6)

    def send() -> None:
        taking = store.modules.upload(sha256(LARGE[0]), 1000)
        barrier.wait(30)
        taking.write(LARGE[0])
        taking.commit().release()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(send) for _ in range(6)]:
            done.result()

    assert store.modules.used_bytes == 1000
    assert store.modules.read(sha256(LARGE[0])) == LARGE[0]


def test_a_damaged_module_is_never_used_and_can_be_sent_again(store: Store, state: Path) -> None:
    row = accepted(store, submission(module=LARGE[0])).row
    digest = sha256(LARGE[0])
    stored(state, LARGE[0]).write_bytes(b"\1" + LARGE[0][1:])

    with pytest.raises(StorageError, match=f"module {digest} is damaged"):
        store.modules.read(digest)

    assert digest not in store.modules
    assert store.modules.pin(digest) is None
    upload(store, LARGE[0])
    assert store.modules.read(store.get(row).module) == LARGE[0]


CHALLENGE = b"challenge"


def proof(module: bytes) -> str:
    return hashlib.sha256(CHALLENGE + module).hexdigest()


def test_possession_is_proved_by_the_bytes_and_not_by_the_digest(store: Store, state: Path) -> None:
    upload(store, b"module")
    digest = sha256(b"module")
    modules = store.modules

    assert modules.is_proved(digest, 6, CHALLENGE, proof(b"module"))
    assert not modules.is_proved(digest, 6, CHALLENGE, proof(b"modulo"))
    assert not modules.is_proved(digest, 5, CHALLENGE, proof(b"module"))
    assert not modules.is_proved("00" * 32, 6, CHALLENGE, proof(b"module"))
    assert digest in modules
    stored(state, b"module").write_bytes(b"modulo")
    assert not modules.is_proved(digest, 6, CHALLENGE, proof(b"module"))
    assert digest not in modules


def test_zeros_prove_nothing_of_a_module_that_is_not_here(store: Store) -> None:
    absent = bytes(1000)

    assert not store.modules.is_proved("00" * 32, len(absent), CHALLENGE, proof(absent))
    assert not store.modules.is_proved("00" * 32, 0, CHALLENGE, proof(b""))


class Counting:
    """Counts what is hashed: each hash with the lengths of what it was given."""

    def __init__(self) -> None:
        self.hashed: list[list[int]] = []

    def sha256(self, data: bytes = b"") -> Counting._Hash:
        self.hashed.append([len(data)])
        return self._Hash(self.hashed[-1], data)

    class _Hash:
        def __init__(self, lengths: list[int], data: bytes) -> None:
            self._lengths, self._hash = lengths, hashlib.sha256(data)

        def update(self, data: bytes) -> None:
            self._lengths.append(len(data))
            self._hash.update(data)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()


@pytest.mark.parametrize("size", [1, 1000, 1 << 20, (5 << 19) + 1])
def test_a_proof_takes_the_same_work_whether_the_module_is_here_or_not(
    store: Store, state: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: which hashes are made, of pieces of what lengths."""
    # One byte at random would be another's now and then, or the zero that the damaged one becomes.
    module, damaged, cut = (bytes([number]) + os.urandom(size - 1) for number in (1, 2, 3))
    other = os.urandom(size + 1)
    for kept in (module, other, damaged, cut):
        upload(store, kept)
    stored(state, damaged).write_bytes(bytes(size))
    stored(state, cut).write_bytes(cut[: size // 2])
    counting = Counting()
    monkeypatch.setattr("plasm_core.daemon.store.modules.hashlib", counting)
    asked = {
        "right": (sha256(module), proof(module)),
        "wrong proof": (sha256(module), proof(other)),
        "absent": ("ab" * 32, proof(module)),
        "of another size": (sha256(other), proof(other)),
        "damaged": (sha256(damaged), proof(damaged)),
        "cut short": (sha256(cut), proof(cut)),
    }

    work, answers = {}, {}
    for name, (digest, answer) in asked.items():
        counting.hashed.clear()
        answers[name] = store.modules.is_proved(digest, size, CHALLENGE, answer)
        work[name] = list(counting.hashed)

    assert {name for name, answer in answers.items() if answer} == {"right"}
    assert sum(map(sum, work["right"])) == 2 * size + len(CHALLENGE)
    assert all(done == work["right"] for done in work.values()), work


def test_a_wrong_proof_is_no_use_of_a_module(state: Path) -> None:
    """Otherwise a stranger who knows only a digest could keep the module here, and learn from what is deleted."""
    with Store(state, THREE_FIT) as store:
        store.recover()
        for module in LARGE[:3]:
            upload(store, module)
        for module in LARGE[:2]:
            assert not store.modules.is_proved(sha256(module), len(module), CHALLENGE, proof(b""))
        upload(store, LARGE[3])

        assert names(store) == [1, 2, 3]


def test_a_module_larger_than_the_quota_is_refused(state: Path) -> None:
    limits = StorageLimits(module_bytes=10, spare_bytes=0)

    with (
        Store(state, limits) as store,
        pytest.raises(StorageFullError, match="no room for a module of 11 bytes"),
    ):
        store.modules.upload("00" * 32, 11)
