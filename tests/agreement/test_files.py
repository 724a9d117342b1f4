"""Jobs with files come to the same on every engine that runs them: outcome, gas, output and every file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from plasm_core.client.file_tree import FileTree
from plasm_core.errors import RefusedError
from plasm_core.execution import PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, manifest_for, sha256
from plasm_core.sandbox.process.file_pack import FilePack
from plasm_core.sandbox.wasi import abi
from plasm_core.testing.bench import module_named
from plasm_core.testing.script import ScriptOutcome
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES, configuration, missing
from tests.agreement.file_jobs import LIMITS, Ended, random_script, run, script, tree

INSTRUCTIONS = 208
"""What plasm_core/testing/modules/files.wat executes of its own, host calls left out, when it copies in one piece."""


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_copies_its_files(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended = run(node, engine, "files")

    data = bytes(range(256)) * 10
    assert ended.outcome == "exited with code 0"
    assert ended.stdout == b"\0"  # what it makes of in/data is its own copy
    assert ended.files == {"out/": b"", "out/copy": data, "out/sub": b"", "out/sub/length": b"\0\x0a\0\0"}
    assert ended.products == (
        ("tree:out", "c396a3b6d446d24ea4d411a1fdc121cea31d2b8e1d145d4a904a4abe202658f6"),
    )
    opens, moves = 2 * 1_207 + 1_208 + 1_314, 2 * (1_008 + 2_560) + 1_008 + 1_012 + 1_009
    assert ended.gas_used == opens + moves + 1_207 + 1_000 + INSTRUCTIONS  # mkdir and close


@pytest.mark.parametrize("engine", ENGINES)
def test_what_it_wrote_before_its_quota_was_reached_is_left(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended = run(node, engine, "files", limits=attrs.evolve(LIMITS, data_bytes=2_000))

    assert ended.outcome == "exited with code 51"
    assert ended.files == {
        "out/": b"",
        "out/copy": (bytes(range(256)) * 10)[:2_000],
        "out/sub": b"",
        "out/sub/length": b"",
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_job_out_of_gas_leaves_what_it_wrote(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended = run(node, engine, "files", gas=2_000)

    assert (ended.outcome, ended.gas_used) == ("out of gas", 2_000)
    assert ended.files == {"out/": b"", "out/sub": b""}


NOTED = {
    **{8: abi.NOSPC, 9: abi.NOSPC, 20: abi.NOTCAPABLE, 21: abi.ROFS},
    **{25: abi.LOOP, 26: abi.PERM, 27: abi.ILSEQ, 28: abi.PERM, 29: abi.NOTDIR, 30: abi.NOENT},
    **{43: abi.NOENT, 47: abi.NOTSOCK, 53: abi.BADF},
}
"""The calls of the script that fail, by their position, with what docs/files.md says of them."""


def play(node: LocalNode, engine: str) -> tuple[Ended, ScriptOutcome]:
    made = script()
    ended = run(node, engine, "calls", stdin=made.image(), outputs=("in", "out"))
    assert ended.outcome == "exited with code 0"
    return ended, made.done(ended.stdout, ended.stderr)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_corpus_of_calls_ends_as_recorded(node: LocalNode, engine: str) -> None:
    skip_if_missing(engine)
    ended, done = play(node, engine)

    assert {index: errno for index, errno in enumerate(done.errnos) if errno} == NOTED
    assert ended.gas_used == 339_183
    assert sha256(done.memory) == "d7e6abb17b3be192185b7928e78f4b30f7b0b264a07b24992fcd2c6b4ee4bfc3"
    assert dict(ended.products) == {
        "tree:in": "f8f5918154f7a9c38fa6161cf099a9ffda3038af1ce93230956e39aa6f670f51",
        "tree:out": "d076c9ed184cc4285d1066f97c2860a030b174baf07f20ccb96a1f1082aeaf96",
    }


@pytest.mark.parametrize("seed", range(6))
def test_engines_agree_on_calls_at_random(node: LocalNode, seed: int) -> None:
    """The two hosts, in Python and in JavaScript, are written apart: what one gets wrong the other tells."""
    made = random_script(seed)
    seen = {}
    for engine in ENGINES:
        if not missing(engine):
            ended = run(node, engine, "calls", stdin=made.image(), outputs=("a", "in", "out"))
            assert ended.outcome == "exited with code 0"
            seen[engine] = (ended, made.done(ended.stdout, ended.stderr))

    (_, first), *others = seen.items()
    assert first[1].errnos.count(0) > 50
    for engine, found in others:
        assert found == first, engine


def test_files_that_are_not_the_manifests_are_refused(node: LocalNode) -> None:
    code, made = module_named("files"), tree()
    with made.pack() as pack:
        manifest = manifest_for(code, JobInput(), files=made.asked(pack))
        given: list[FilePack | None] = [None]
        with FileTree().pack() as other:
            given.append(other)
            for wrong in given:
                with pytest.raises(RefusedError) as caught:
                    execute(*(node, manifest, lambda: code, JobInput(), PassedOn()), files=wrong)
                assert caught.value.reason == "digest_mismatch"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"limits": attrs.evolve(LIMITS, entries=3)}, "limit_too_low"), ({"read_only": ("none",)}, "bad_files")],
)
def test_files_that_exceed_the_manifest_are_refused(
    node: LocalNode, changes: dict[str, Any], reason: str
) -> None:
    code, made = module_named("files"), tree()
    with made.pack() as pack:
        manifest = manifest_for(code, JobInput(), files=attrs.evolve(made.asked(pack), **changes))
        with pytest.raises(RefusedError) as caught:
            execute(*(node, manifest, lambda: code, JobInput(), PassedOn()), files=pack)

    assert caught.value.reason == reason
