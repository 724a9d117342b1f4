"""What a node takes of jobs with files, before a byte of them has come."""

from __future__ import annotations

import pytest

from plasm_core.config import Config, JobLimits, Policy
from plasm_core.errors import RefusedError
from plasm_core.policy import MAX_PATHS_BYTES, check_submission
from plasm_core.protocol.messages import Outputs, Submit, Uploads
from plasm_core.records import PeerId
from plasm_core.records.files import DEFAULT_FILE_LIMITS, JobFiles
from plasm_core.records.manifest import PROFILE_V2
from tests.support.receipts import manifest

CONFIG = Config(policy=Policy(lend=True), limits=JobLimits(tree_bytes=1000))


def check(
    *,
    files: JobFiles | None,
    size: int | None,
    route: str = "here",
    stranger: PeerId | None = None,
) -> None:
    asked = manifest() if files is None else manifest(profile=PROFILE_V2, files=files)
    submit = Submit(
        manifest=asked.to_json().decode(),
        token="00" * 32,
        sizes=Uploads(module=1, args=0, env=0, stdin=0, files=size),
        credit=Outputs(stdout=0, stderr=0),
        route=route,
    )
    check_submission(asked, submit, CONFIG, stranger=stranger, hands_on=True)


def asked(*outputs: str) -> JobFiles:
    return JobFiles(tree="00" * 32, read_only=(), outputs=outputs, limits=DEFAULT_FILE_LIMITS)


@pytest.mark.parametrize("stranger", [None, PeerId(b"\1" * 32)])
def test_files_up_to_the_limit_are_taken_of_any_client(stranger: PeerId | None) -> None:
    check(files=asked("out"), size=1000, stranger=stranger)
    with pytest.raises(RefusedError, match="files: 1001 bytes, more than the 1000") as caught:
        check(files=asked("out"), size=1001, stranger=stranger)
    assert caught.value.reason == "input_too_large"


def test_a_gateway_takes_files_too() -> None:
    check(files=asked("out"), size=1000, route="network")


@pytest.mark.parametrize(("files", "size"), [(asked(), None), (None, 0), (None, 10)])
def test_a_size_goes_with_files_and_files_with_a_size(files: JobFiles | None, size: int | None) -> None:
    with pytest.raises(RefusedError) as caught:
        check(files=files, size=size)
    assert caught.value.reason == "invalid_manifest"


def test_paths_that_could_make_a_receipt_too_large_are_refused() -> None:
    name = "n" * 255
    most = [f"{index:03}{name}"[:255] + f"/{index:03}" for index in range(MAX_PATHS_BYTES // 259)]

    check(files=asked(*most), size=100)
    with pytest.raises(RefusedError) as caught:
        check(files=asked(*most, "another" + name[7:]), size=100)
    assert caught.value.reason == "bad_files"
