"""Hold the image's definition to the code and the page, as far as that is quick: script/test-container builds it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core import config, paths
from tests.docs import containers
from tests.docs.pages import DOCS

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "examples" / "container"
DEFINITION = (CONTAINER / "Containerfile").read_text()
COMPOSE = (CONTAINER / "compose.yaml").read_text()
PAGE = (DOCS / "containers.md").read_text()
UNIT = (ROOT / "debian" / "plasm.plasmd.service").read_text()
FOR_ROOT = {
    "bpf",
    "chroot",
    "init_module",
    "kexec_load",
    "mount",
    "pivot_root",
    "ptrace",
    "reboot",
    "setns",
    "swapon",
}


FOR_CAPABILITIES = {
    "get_mempolicy",
    "kcmp",
    "mbind",
    "pidfd_getfd",
    "process_madvise",
    "set_mempolicy",
    "syslog",
}


def seccomp() -> dict[str, Any]:
    """Return the entries of the profile, by system call."""
    profile = json.loads((CONTAINER / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    return {name: entry for entry in profile["syscalls"] for name in entry["names"]}


def values(call: str) -> set[int] | None:
    """Return the values that a call's first argument may have; None if any."""
    found = set()
    for entry in json.loads((CONTAINER / "seccomp.json").read_text())["syscalls"]:
        if call in entry["names"]:
            if not entry.get("args"):
                return None
            (condition,) = entry["args"]
            assert (condition["index"], condition["op"]) == (0, "SCMP_CMP_EQ")
            found.add(condition["value"])
    return found


def test_the_image_is_of_two_stages_on_one_base_and_names_no_host_but_the_registry() -> None:
    assert re.findall(r"(?m)^FROM (.*)$", DEFINITION) == ["${BASE} AS build", "${BASE}"]
    assert re.findall(r"(?m)^ARG BASE=(.*)$", DEFINITION) == ["docker.io/library/debian:trixie-slim"]
    assert "://" not in DEFINITION


def test_the_daemon_is_an_ordinary_user_in_the_image() -> None:
    last = DEFINITION.rpartition("FROM ")[2]

    assert re.findall(r"(?m)^USER (.*)$", last) == ["10001:10001"]
    assert "STOPSIGNAL SIGTERM" in last
    assert 'CMD ["plasmd"]' in last


def test_the_variables_of_the_image_are_those_that_the_daemon_reads() -> None:
    found = dict(re.findall(r"(?m)^(?:ENV|   ) ([A-Z_]+)=(\S+)", DEFINITION))
    volume = re.findall(r"(?m)^VOLUME \[\"(.*)\"\]$", DEFINITION)

    assert volume == [found["STATE_DIRECTORY"]] == [found["HOME"]]
    assert attrs.evolve(config.load(file=None, environ=found), components={}) == config.Config()
    assert Path(found["PLASM_SOCKET"]) == paths.SYSTEM_DIRECTORY / paths.SOCKET_NAME


def test_what_the_build_copies_is_what_the_context_has() -> None:
    ignored = (CONTAINER / "Containerfile.dockerignore").read_text().splitlines()
    copied = {
        word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", DEFINITION) for word in line.split()
    }

    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_filter_lets_workers_make_the_namespaces_of_the_unit_and_no_other() -> None:
    (allowed,) = re.findall(r"(?m)^RestrictNamespaces=(.*)$", UNIT)
    assert set(allowed.split()) == {"user", "mnt", "net", "ipc"}
    entry = seccomp()["unshare"]

    (condition,) = entry["args"]
    assert (entry["action"], condition["op"], condition["valueTwo"]) == (
        "SCMP_ACT_ALLOW",
        "SCMP_CMP_MASKED_EQ",
        0,
    )
    assert condition["value"] & (0x20000 | 0x8000000 | 0x10000000 | 0x40000000) == 0
    assert condition["value"] == 0x02000000 | 0x04000000 | 0x20000000 | 0x80  # cgroup, UTS, PID, time


def test_the_filter_permits_the_sockets_of_the_unit_and_no_change_of_personality() -> None:
    """The default profiles forbid virtual-machine and kernel-crypto sockets, and most personalities."""
    (allowed,) = re.findall(r"(?m)^RestrictAddressFamilies=(.*)$", UNIT)
    assert allowed.split() == ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"]
    assert "LockPersonality=yes" in UNIT

    assert values("socket") == {1, 2, 10, 16}  # Linux's numbers
    assert values("personality") == {0, 0xFFFFFFFF}


def test_the_filter_permits_nothing_that_default_profiles_keep_for_capabilities() -> None:
    assert FOR_CAPABILITIES.isdisjoint(seccomp())


def test_the_filter_permits_what_the_unit_adds_and_nothing_for_root_only() -> None:
    added = re.findall(r"(?m)^SystemCallFilter=([a-z].*)$", UNIT)[0].split()
    allowed = {name for name, entry in seccomp().items() if entry["action"] == "SCMP_ACT_ALLOW"}

    assert set(added) <= allowed
    assert allowed & FOR_ROOT == set()
    assert {"execve", "clone", "futex", "openat", "prctl", "seccomp"} <= allowed


def test_the_compose_file_gives_what_the_commands_of_the_page_give() -> None:
    lender = PAGE.partition("--name lender")[2].partition("```")[0]

    for flag, line in (
        ("--read-only", "read_only: true"),
        ("--cap-drop ALL", "cap_drop: [ALL]"),
        ("--security-opt no-new-privileges", "- no-new-privileges"),
        ("--security-opt seccomp=examples/container/seccomp.json", "- seccomp=seccomp.json"),
        ("--tmpfs /run:mode=1777", "- /run:mode=1777"),
        ("--tmpfs /var/cache/plasm:mode=1777", "- /var/cache/plasm:mode=1777"),
        ("--memory 2g", "mem_limit: 2g"),
        ("--cpus 2", "cpus: 2"),
        ("--pids-limit 1024", "pids_limit: 1024"),
        ("--publish 4001:4001/udp", "4001:4001/udp"),
        ("plasmd --transport libp2p --lend", "command: [plasmd, --transport, libp2p, --lend]"),
    ):
        assert flag in lender
        assert line in COMPOSE


def test_the_container_is_stopped_later_than_jobs_may_take_to_end() -> None:
    (grace,) = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    (waits,) = re.findall(r"docker stop --time (\d+) plasm", PAGE)

    (said,) = re.findall(r"`daemon\.shutdown_s` \((\d+) s\)", PAGE)

    assert int(said) == config.Config().daemon.shutdown_s
    assert int(grace) == int(waits) > int(said)


def test_a_volume_that_is_there_is_neither_used_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold a node's key, and outlives the container: script/test-container takes the names of the page."""
    done = tmp_path / "done"
    shim = tmp_path / "docker"
    shim.write_text(
        f'#!/bin/sh\n[ "$1 $2" != \'volume ls\' ] || echo lender\n[ "$1" = ps ] || echo "$*" >>{done}\n'
    )
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(AssertionError, match="the volume lender exists"):
        containers.main()

    assert done.read_text() == "volume ls --quiet\n"
