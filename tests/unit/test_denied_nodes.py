"""The drop-in of convicted nodes: added to, never written over, and part of the policy."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from plasm_core import config, denied_nodes
from plasm_core.config import Config, Policy
from plasm_core.denied_nodes import deny, drop_in_of
from plasm_core.errors import ConfigError, RefusedError
from plasm_core.policy import check_submission
from plasm_core.protocol.messages import Outputs, Submit, Uploads
from plasm_core.records import PeerId
from plasm_core.testing.claims import SeedSigner, manifest

NODES = [SeedSigner(bytes([number]) * 32).peer_id for number in range(1, 40)]


def loaded(file: Path) -> Policy:
    return config.load(file=file, environ={}).policy


def test_the_operators_own_list_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "plasmd.toml"
    file.write_text(f'[policy]\ndeny = ["{NODES[0]}"]\n')

    assert deny([NODES[1]], drop_in_of(file)) == (NODES[1],)
    assert deny([NODES[1], NODES[2], NODES[2]], drop_in_of(file)) == (NODES[2],)
    policy = loaded(file)
    assert policy.deny == (str(NODES[0]),)
    assert policy.convicted == (str(NODES[1]), str(NODES[2]))
    assert policy.denied == {str(peer) for peer in NODES[:3]}


def test_a_convicted_nodes_jobs_are_refused() -> None:
    asked = manifest()
    submit = Submit(
        manifest=asked.to_json().decode(),
        token="00" * 32,
        sizes=Uploads(module=1, args=0, env=0, stdin=0),
        credit=Outputs(stdout=0, stderr=0),
    )
    settings = Config(policy=Policy(lend=True, convicted=(str(NODES[0]),)))

    check_submission(asked, submit, settings, stranger=NODES[1], hands_on=False)
    with pytest.raises(RefusedError, match="does not run this client's jobs"):
        check_submission(asked, submit, settings, stranger=NODES[0], hands_on=False)


def test_other_settings_in_the_drop_in_are_not_lost(tmp_path: Path) -> None:
    drop_in = tmp_path / "plasmd.d" / "convicted.toml"
    drop_in.parent.mkdir()
    text = f'[policy]\nlend = true\nconvicted = ["{NODES[0]}"]\n'
    drop_in.write_text(text)

    with pytest.raises(ConfigError, match="other settings"):
        deny([NODES[1]], drop_in)
    assert drop_in.read_text() == text


def test_the_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denied_nodes, "MAX_CONVICTED", 2)
    drop_in = tmp_path / "plasmd.d" / "convicted.toml"
    deny(NODES[:2], drop_in)

    with pytest.raises(ConfigError, match="more than 2"):
        deny(NODES[2:3], drop_in)
    assert deny(NODES[:2], drop_in) == ()


def test_the_longest_list_is_a_file_that_the_configuration_reads(tmp_path: Path) -> None:
    file = tmp_path / "plasmd.toml"
    file.write_text("[policy]\nlend = true\n")
    peers = [PeerId(number.to_bytes(4, "big") + b"\x07" * 28) for number in range(denied_nodes.MAX_CONVICTED)]
    deny(peers, drop_in_of(file))

    assert len(loaded(file).convicted) == len(peers)


def test_those_who_add_at_once_lose_nothing(tmp_path: Path) -> None:
    drop_in = tmp_path / "plasmd.d" / "convicted.toml"
    threads = [threading.Thread(target=deny, args=([peer], drop_in)) for peer in NODES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert deny(NODES, drop_in) == ()
    assert os.listdir(drop_in.parent) == ["convicted.toml"]


def test_a_configuration_file_without_drop_ins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.toml"):
        drop_in_of(tmp_path / "settings.conf")
