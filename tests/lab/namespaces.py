"""Network namespaces of this machine, made and removed."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence

TOOLS = ("ip", "nft", "conntrack", "sysctl")
DEADLINE_S = 30.0
_SYSTEM_PATHS = ":/usr/sbin:/sbin"
_numbers = itertools.count()


class LaboratoryError(Exception):
    """A command of the laboratory failed."""


def missing() -> str | None:
    """Return why there can be no laboratory here, None if there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in TOOLS:
        if find(tool) is None:
            return f"{tool} is not installed (Debian: apt install iproute2 nftables conntrack procps)"
    try:
        with Namespace("trial") as trial:
            trial.run("ip", "link", "set", "lo", "up")
            chain = "type nat hook postrouting priority 100; policy accept\nmasquerade"
            trial.nft(f"table ip trial {{ chain trial {{\n{chain}\n}}\n}}\n")
    except LaboratoryError as exc:
        return f"this system permits no network namespaces with NAT: {exc}"
    return None


def find(tool: str) -> str | None:
    """Return where a program is, those for administrators among them."""
    return shutil.which(tool, path=os.environ.get("PATH", "") + _SYSTEM_PATHS)


def run(*command: str, stdin: str = "") -> str:
    """Run a program and return what it says. Raises: `LaboratoryError`."""
    program = find(command[0])
    if program is None:
        raise LaboratoryError(f"{command[0]} is not installed")
    done = subprocess.run(
        [program, *command[1:]], input=stdin, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise LaboratoryError(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


class Namespace:
    """A network of its own, with nothing but loopback in it. Its name is unique on this machine."""

    def __init__(self, label: str) -> None:
        self.name = f"plasm-{os.getpid()}-{next(_numbers)}-{label}"
        self._exists = False

    def __enter__(self) -> Namespace:
        run("ip", "netns", "add", self.name)
        self._exists = True
        self.run("ip", "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        if self._exists:
            self._exists = False
            run("ip", "netns", "delete", self.name)

    def command(self, *command: str) -> list[str]:
        """Return a command line that runs another one in here, as the same process."""
        program = find("ip")
        assert program is not None
        return [program, "netns", "exec", self.name, *command]

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a program in here and return what it says. Raises: `LaboratoryError`."""
        return run(
            "ip", "netns", "exec", self.name, find(command[0]) or command[0], *command[1:], stdin=stdin
        )

    def nft(self, ruleset: str) -> str:
        """Take over rules of nftables. Raises: `LaboratoryError`."""
        return self.run("nft", "-f", "-", stdin=ruleset)

    def ip(self, commands: Sequence[str]) -> None:
        """Carry out commands of `ip` in here. Raises: `LaboratoryError`."""
        self.run("ip", "-batch", "-", stdin="\n".join(commands) + "\n")

    def link(self, interface: str, other: Namespace, others_interface: str) -> None:
        """Lay a cable to another namespace. Raises: `LaboratoryError`."""
        self.ip([f"link add {interface} type veth peer name {others_interface} netns {other.name}"])
