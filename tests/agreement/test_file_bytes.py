"""What a job writes to files, over the pieces that they are kept in, and the room that it takes, alike on every engine."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence

import pytest

from benchmarks.worst_calls import Call, Step, module_calling
from plasm_core.client.file_tree import FileTree
from plasm_core.execution import Executed, PassedOn, execute
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, Limits, manifest_for
from plasm_core.records.files import FileLimits
from plasm_core.sandbox.wasi.abi import FILE_RIGHTS, OPEN_CREATE, OPEN_TRUNCATE
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES, configuration

PIECE = 1 << 18
IOVS, RESULT, NAMES, PATTERN = 1_024, 64, 2_048, 4_096
DATA = bytes(index % 253 for index in range(50_000))
FD = 4
GIVEN = bytes(index % 241 for index in range(3 * PIECE // 2))


@pytest.fixture(scope="module")
def node() -> Iterator[LocalNode]:
    with LocalNode(configuration()) as made:
        yield made


def run(
    node: LocalNode,
    engine: str,
    steps: Sequence[Step],
    *,
    data_bytes: int,
    memory: tuple[tuple[int, bytes], ...] = (),
    outputs: tuple[str, ...] = (),
) -> Executed:
    """Make calls one after the other, with a file `in` of the input."""
    *before, (name, arguments) = steps
    call = Call(label="", arguments=arguments, before=tuple(before), memory=memory)
    code, tree = module_calling(name, call, 1), FileTree()
    tree.add_bytes(GIVEN, "in")
    with tree.pack() as pack:
        limits = FileLimits(data_bytes=data_bytes, entries=64, descriptors=64)
        manifest = manifest_for(
            code,
            JobInput(),
            limits=Limits(gas=10**11, memory_bytes=8 << 20, output_bytes=0),
            files=tree.asked(pack, outputs=outputs, limits=limits),
        )
        taken = PassedOn(lambda _stream, _data: None)
        return execute(*(node, manifest, lambda: code, JobInput(), taken), runtime=engine, files=pack)


def opening(name: int, how: int = OPEN_CREATE) -> Step:
    """Open a file whose name is one character of the module's memory."""
    return "path_open", (3, 0, NAMES + name, 1, how, FILE_RIGHTS, 0, 0, RESULT)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_given", [False, True])
def test_bytes_are_as_in_one_array(node: LocalNode, engine: str, seed: int, is_given: bool) -> None:
    skip_if_missing(engine)
    chosen = random.Random(seed)
    expected = bytearray(GIVEN if is_given else b"")
    steps: list[Step] = [
        ("path_open", (3, 0, NAMES, 2, OPEN_CREATE, FILE_RIGHTS, 0, 0, RESULT)) if is_given else opening(0)
    ]

    def place() -> int:
        return max(0, chosen.randrange(4) * PIECE + chosen.choice([-1, 0, 1, 0, chosen.randrange(PIECE)]))

    for _ in range(30):
        if chosen.random() < 0.5:
            at = place()
            steps.append(("fd_pwrite", (FD, IOVS, 1, at, RESULT)))
            expected.extend(bytes(max(0, at + len(DATA) - len(expected))))
            expected[at : at + len(DATA)] = DATA
        else:
            size = place()
            steps.append(("fd_filestat_set_size", (FD, size)))
            expected = expected[:size].ljust(size, b"\0")
    memory = ((IOVS, struct.pack("<II", PATTERN, len(DATA))), (PATTERN, DATA), (NAMES, b"in"))
    path = "in" if is_given else "i"

    done = run(node, engine, steps, data_bytes=8 * PIECE, memory=memory, outputs=(path,))

    assert str(done.run.outcome) == "exited with code 0"
    assert done.files is not None
    (left,) = done.files.entries(path)
    assert b"".join(done.files.read(left)) == bytes(expected)
    done.files.close()


_SIZE, _FILES = 64 << 20, 24


def emptied(number: int) -> list[Step]:
    return [
        opening(number),
        ("fd_filestat_set_size", (FD + number, _SIZE)),
        ("fd_filestat_set_size", (FD + number, 0)),
    ]


def truncated(number: int) -> list[Step]:
    return [
        opening(number),
        ("fd_filestat_set_size", (FD + 2 * number, _SIZE)),
        opening(number, OPEN_TRUNCATE),
    ]


def unlinked(number: int) -> list[Step]:
    return [
        opening(number),
        ("fd_filestat_set_size", (FD, _SIZE)),
        ("path_unlink_file", (3, NAMES + number, 1)),
        ("fd_close", (FD,)),
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("emptying", [emptied, truncated, unlinked])
def test_files_that_were_emptied_take_no_room(node: LocalNode, engine: str, emptying: object) -> None:
    """On V8 they kept it, until the worker had no memory left: the node failed the job, and had not counted it."""
    skip_if_missing(engine)
    assert callable(emptying)
    steps = [step for number in range(_FILES) for step in emptying(number)]
    memory = ((NAMES, bytes(range(97, 97 + _FILES))),)

    done = run(node, engine, steps, data_bytes=_SIZE, memory=memory)

    assert str(done.run.outcome) == "exited with code 0"
    if done.files is not None:
        done.files.close()
