"""Hold where a wrong setting is said to come from, and which name may be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from plasm_core import config
from plasm_core.config_origins import line_of
from plasm_core.errors import ConfigError

pytestmark = pytest.mark.usefixtures("homes")

TEXT = """\
# the node's storage
[storage]

job_bytes = 5
keep_s = [
    1,
    # in between
    2,
]
[transport.local]
mode = "0999"
group.x = '''
[storage]
tombstone_s = 1
'''
[storage.more]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("storage", 2),
        ("storage.job_bytes", 4),
        ("storage.keep_s", 5),
        ("transport.local", 10),
        ("transport.local.mode", 11),
        ("transport.local.group", 12),
        ("storage.tombstone_s", None),
        ("storage.more", 16),
    ],
)
def test_a_key_is_found_in_its_line(path: str, line: int | None) -> None:
    assert line_of(TEXT, path.split(".")) == line


def test_a_long_file_is_not_searched() -> None:
    assert line_of("\n" * 5000 + "a = 1\n", ["a"]) is None


def refusal(tmp_path: Path, toml: str, *settings: str, **environ: str) -> str:
    path = tmp_path / "p.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as caught:
        config.load(file=path, settings=settings, environ=environ)
    return str(caught.value).replace(str(tmp_path), "")


def test_each_wrong_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    toml = "[storage]\nkep_s = 1\n\n[queue]\njobs = 0\n[stroage]\n"

    message = refusal(
        tmp_path, toml, "limits.cpu=-1", PLASM_ADMISSION__CPU_S="0", PLASM_QUEUE__OFFER_S="never"
    )

    assert "storage.kep_s: unknown field, did you mean keep_s? (in /p.toml:2)" in message
    assert "queue.jobs: expected an integer from 1 to 1000000, got 0" not in message or "/p.toml:5" in message
    assert "(in /p.toml:5)" in message
    assert "stroage: unknown section, did you mean storage? (in /p.toml:6)" in message
    assert message.count("(in --set)") == 1
    assert "(in PLASM_ADMISSION__CPU_S)" in message
    assert "(in PLASM_QUEUE__OFFER_S)" in message


def test_an_unknown_variable_is_compared_with_the_known_ones(tmp_path: Path) -> None:
    assert refusal(tmp_path, "", PLASM_RUNTME="x") == (
        "unknown environment variable PLASM_RUNTME, did you mean PLASM_RUNTIME?"
    )
