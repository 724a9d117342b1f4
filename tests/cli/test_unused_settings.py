"""A setting after `--set` that its command does not use is refused, with where it takes effect."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from plasm_core.cli.unused_settings import BY_SENDERS, OF_DAEMON, OF_RESULTS, OF_RUNS, OF_WEB
from plasm_core.config import Config, PluginSelection, Policy
from plasm_core.plugins.interfaces import KINDS
from tests.support.cli import CONFIGURATION, HELLO, OK, Done

DAEMON = "hint: it takes effect in the daemon's own configuration, or plasmd --set"
RUNS = (
    "hint: it takes effect where the job runs: in the daemon's own configuration, or plasmd --set; plasm run"
)


@pytest.mark.parametrize(
    ("command", "setting", "hint"),
    [
        (("submit", HELLO), "policy.lend=true", DAEMON),
        (("submit", HELLO), "policy.grants=[]", RUNS),
        (("submit", HELLO), "plasm.runtime=wasm3", RUNS),
        (("submit", HELLO), "plasm.require=quorum", "hint: it takes effect where a result is verified"),
        (("run", HELLO), "policy.allow=[]", DAEMON),
        (("run", HELLO), "limits.gas=1000", f"{DAEMON}, and in plasm web"),
        (("map", HELLO, "--range", "2"), "queue.jobs=1", DAEMON),
        (("verify", "receipt.json"), "storage.keep_s=1", DAEMON),
        (("web",), "gateway.enabled=true", DAEMON),
        (("metrics",), "sandbox.isolation=shared", RUNS),
    ],
)
def test_a_setting_without_effect_is_refused(
    here: Callable[..., Done], command: tuple[str, ...], setting: str, hint: str
) -> None:
    done = here(*command, "--set", setting)

    key = setting.partition("=")[0]
    assert done.code == CONFIGURATION
    assert f"error: --set {key}: plasm {command[0]} does not use this setting" in done.err
    assert hint in done.err


@pytest.mark.parametrize("setting", ["limits.gs=1", "polcy.lend=true"])
def test_a_misspelt_setting_is_told_as_such(here: Callable[..., Done], setting: str) -> None:
    assert "does not use" not in here("submit", HELLO, "--set", setting).err


def test_a_setting_of_a_daemon_in_the_file_is_none_of_a_commands_business(
    here: Callable[..., Done], tmp_path: Path
) -> None:
    file = tmp_path / "plasm.toml"
    file.write_text("[policy]\nlend = true\n[limits]\ngas = 1000\n")

    assert here("run", HELLO, "--config", str(file), "--set", "admission.cpu_s=60").code == OK


def test_the_names_are_those_of_settings() -> None:
    """So that a section that is renamed is not left out."""
    known = {field.name for field in attrs.fields(Config)} | set(KINDS)
    inside = {"policy": Policy, "plasm": PluginSelection}

    for name in (*OF_DAEMON, *OF_WEB, *OF_RUNS, *OF_RESULTS, *BY_SENDERS):
        section, _, key = name.partition(".")
        assert section in known
        assert not key or key in {field.name for field in attrs.fields(inside[section])}
