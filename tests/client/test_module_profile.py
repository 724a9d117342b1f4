"""A client chooses the profile by a module's sections, and believes nothing else of them."""

from __future__ import annotations

import pytest

from plasm_core.client.module_profile import needed_profile
from plasm_core.client.submission import Submission
from plasm_core.client.upload import Bytes
from plasm_core.records.manifest import PROFILE, PROFILE_V2
from plasm_core.testing.bench import module_named

PREAMBLE = b"\0asm\x01\0\0\0"
TAIL_CALLS = b"\x0ftarget_features\x02+\x04simd+\x09tail-call"


def custom(content: bytes) -> bytes:
    return b"\0" + bytes([len(content)]) + content


@pytest.mark.parametrize(
    ("module", "profile"),
    [
        (b"", None),
        (b"\0asm", None),
        (PREAMBLE, None),
        (module_named("echo"), None),
        (module_named("exceptions"), PROFILE_V2),
        (PREAMBLE + custom(TAIL_CALLS), PROFILE_V2),
        (PREAMBLE + custom(TAIL_CALLS.replace(b"+\x09", b"-\x09")), None),
        (PREAMBLE + custom(b"\x04name+\x09tail-call"), None),
        (PREAMBLE + b"\x01\x00" * 1_000 + b"\x0d\x00", None),
        (PREAMBLE + b"\x01\xff\xff\xff\xff\xff", None),
        (PREAMBLE + b"\x01\xff", None),
        (PREAMBLE + b"\x01\xff\xff\xff\xff\x7f\x0d\x00", None),
    ],
)
def test_the_profile_is_that_of_the_sections(module: bytes, profile: str | None) -> None:
    assert needed_profile(Bytes(module)) == profile


def test_a_submission_has_the_profile_that_its_module_needs_unless_another_is_named() -> None:
    exceptions, echo = module_named("exceptions"), module_named("echo")

    assert Submission.of(exceptions).manifest.profile == PROFILE_V2
    assert Submission.of(echo).manifest.profile == PROFILE
    assert Submission.of(echo, profile=PROFILE_V2).manifest.profile == PROFILE_V2
    assert Submission.of(exceptions, profile=PROFILE).manifest.profile == PROFILE
