"""Hold the encodings under digests: no two inputs may be encoded alike."""

import itertools
from typing import Any

import attrs
import pytest

from plasm_core.records import Limits, Manifest, list_digest, sha256
from plasm_core.records.digest import encode_list, tagged_digest
from tests.support.receipts import manifest

PLAIN = manifest()

TASK_CHANGES: list[dict[str, Any]] = [
    {"module": "11" * 32},
    {"args": "11" * 32},
    {"env": "11" * 32},
    {"stdin": "11" * 32},
    {"seed": "11" * 32},
    {"limits": attrs.evolve(PLAIN.limits, gas=1)},
    {"limits": attrs.evolve(PLAIN.limits, memory_bytes=65_536)},
    {"limits": attrs.evolve(PLAIN.limits, output_bytes=0)},
    {"capabilities": ("clock.real",)},
    {"capabilities": ("random.real",)},
    {"capabilities": ("clock.real", "random.real")},
]
RUN_CHANGES: list[dict[str, Any]] = [
    {"nonce": "cd" * 16},
    {"wall_time_s": 1},
    {"cpu": 2},
    {"retry": attrs.evolve(PLAIN.retry, attempts=1)},
]


def changed(change: dict[str, Any]) -> Manifest:
    return attrs.evolve(PLAIN, **change)


@pytest.mark.parametrize("change", TASK_CHANGES)
def test_all_that_fixes_the_observables_is_in_the_task_digest(change: dict[str, Any]) -> None:
    assert changed(change).task_digest != PLAIN.task_digest


@pytest.mark.parametrize("change", RUN_CHANGES)
def test_what_concerns_one_run_is_not_in_the_task_digest(change: dict[str, Any]) -> None:
    assert changed(change).task_digest == PLAIN.task_digest


def test_the_same_bytes_in_two_fields_are_two_tasks() -> None:
    names = ("module", "args", "env", "stdin", "seed")
    digests = {changed({name: "22" * 32}).task_digest for name in names}

    assert len(digests) == len(names)


def test_limits_do_not_stand_for_one_another() -> None:
    orders = itertools.permutations((65_536, 65_537, 65_538))
    limits = [Limits(gas=a, memory_bytes=b, output_bytes=c) for a, b, c in orders]

    assert len({changed({"limits": item}).task_digest for item in limits}) == len(limits)


def test_lists_that_join_to_the_same_bytes_have_different_digests() -> None:
    lists = [[b"ab"], [b"a", b"b"], [b"", b"ab"], [b"ab", b""], [b"b", b"a"], [], [b""]]

    assert len({list_digest(items) for items in lists}) == len(lists)


def test_a_list_cannot_pose_as_another_by_holding_its_encoding() -> None:
    assert list_digest([encode_list([b"a"])]) != list_digest([b"a"])


def test_fields_are_framed_and_kept_in_order() -> None:
    variants = [[("a", b"bc")], [("ab", b"c")], [("a", b"b"), ("c", b"")], [("c", b""), ("a", b"b")], []]

    assert len({tagged_digest(fields) for fields in variants}) == len(variants)


def test_nothing_at_all_has_the_digest_of_no_bytes() -> None:
    assert list_digest([]) == tagged_digest([]) == sha256(b"")
