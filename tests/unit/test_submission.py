"""The terms of a submission: known names, right types, and old names refused."""

from __future__ import annotations

from typing import Any

import pytest

from plasm_core import Client
from plasm_core.client.submission import Submission
from plasm_core.records import job_id

MODULE = b"\0asm\1\0\0\0"


def test_grants_are_the_capabilities_of_the_manifest() -> None:
    made = Submission.of(MODULE, grants=["random.real", "clock.real"])

    assert made.manifest.capabilities == ("clock.real", "random.real")


def test_grants_by_their_old_name_are_refused_by_the_new_one() -> None:
    old: dict[str, Any] = {"capabilities": ["clock.real"]}
    with pytest.raises(TypeError, match="capabilities is called grants now"):
        Submission.of(MODULE, **old)


def test_the_class_of_nodes_by_its_old_name_is_refused_by_the_new_one() -> None:
    old: dict[str, Any] = {"capability": "engine/wasm3"}
    with pytest.raises(TypeError, match="capability is called node_class now"):
        Client(**old)


def test_another_job_of_the_same_task_has_another_id_and_another_secret() -> None:
    """Nodes that run one task for a quorum, and share what they are asked, see no job twice."""
    one = Submission.of(MODULE, args=["x"], stdin=b"input")
    two = one.another()

    assert two.manifest.task_digest == one.manifest.task_digest
    assert job_id(two.manifest_json) != job_id(one.manifest_json)
    assert two.secret != one.secret
    assert two.load() == one.load()
