"""Follow docs/two-machines.md on two machines: clean Debian trees, booted, with one wire between them.

`python -m tests.docs.machines TREE PACKAGE` as root: TREE is a clean system with what the package depends on, and
with sudo and bash. script/test-two-machines makes all that. Nothing reaches the machines but what the page has its
reader paste, as a user who may use sudo.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import click

from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "two-machines.md"
ADDRESSES = {"one": "192.0.2.1", "two": "192.0.2.2"}
_STEP_S = 300
_SHELL = """\
cd
for number in $(seq 1000); do
    until [ -e /steps/$number ]; do sleep 0.2; done
    . /steps/$number >/steps/$number.out 2>&1 </dev/null
    echo $? >/steps/$number.part
    mv /steps/$number.part /steps/$number.code
done
"""
_UNIT = """\
[Unit]
After=multi-user.target
[Service]
User=reader
Environment=HOME=/home/reader LC_ALL=C.UTF-8
ExecStart=/bin/bash /steps/shell
"""


@attrs.frozen(kw_only=True)
class Machine:
    """A booted tree. What is to be done in it is put into a file, which a shell of its user sources."""

    name: str
    root: Path

    def do(self, number: int, text: str) -> str:
        """Have a block pasted, and return what it says. Raises: AssertionError if it fails."""
        step = self.root / "steps" / str(number)
        part = step.with_suffix(".new")
        part.write_text(text)
        part.chmod(0o644)
        part.rename(step)
        code = step.with_suffix(".code")
        deadline = time.monotonic() + _STEP_S
        while not code.exists():
            assert time.monotonic() < deadline, f"{self.name} does not come to an end with:\n{text}"
            time.sleep(0.2)
        said = step.with_suffix(".out").read_text()
        assert code.read_text().strip() == "0", f"{self.name} says\n{said}\nto\n{text}"
        return said


def run(*command: str | Path) -> None:
    """Run a program of this machine to its end."""
    subprocess.run(list(map(str, command)), check=True, stdin=subprocess.DEVNULL, timeout=600)


@contextlib.contextmanager
def wire() -> Iterator[dict[str, str]]:
    """Make a network namespace for each machine, joined by one wire, and yield their names."""
    names = {name: f"plasm-{os.getpid()}-{name}" for name in ADDRESSES}
    one, two = names.values()
    with contextlib.ExitStack() as stack:
        for name in names.values():
            run("ip", "netns", "add", name)
            stack.callback(run, "ip", "netns", "delete", name)
        run("ip", "-n", one, "link", "add", "host0", "type", "veth", "peer", "name", "host0", "netns", two)
        for machine, name in names.items():
            run("ip", "-n", name, "address", "add", f"{ADDRESSES[machine]}/24", "dev", "host0")
            for link in ("lo", "host0"):
                run("ip", "-n", name, "link", "set", link, "up")
        yield names


@contextlib.contextmanager
def booted(name: str, root: Path, namespace: str) -> Iterator[Machine]:
    """Boot a tree in a network namespace, with a shell that waits for what is to be done."""
    steps = root / "steps"
    steps.mkdir()
    (steps / "shell").write_text(_SHELL)
    unit = root / "etc/systemd/system/reader.service"
    unit.write_text(_UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
    (root / "etc/sudoers.d").mkdir(exist_ok=True)
    (root / "etc/sudoers.d/reader").write_text("reader ALL=(ALL:ALL) NOPASSWD: ALL\n")
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
    run("chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "reader")
    run("chroot", root, "chown", "reader", "/steps")
    console = root.with_suffix(".console").open("wb")
    process = subprocess.Popen(
        [
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=pipe"),
            *(f"--network-namespace-path=/run/netns/{namespace}", "-D", str(root)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
    )
    try:
        yield Machine(name=name, root=root)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()
        process.wait()
        console.close()


def follow(machines: dict[str, Machine]) -> dict[str, list[str]]:
    """Do what the page says, block by block, and return what each machine said."""
    said: dict[str, list[str]] = {name: [] for name in machines}
    known: dict[str, str] = {}

    def address(match: re.Match[str]) -> str:
        return known[match[1]]

    for block in blocks(PAGE):
        where = block.notes["on"]
        for name in machines if where == "both" else (where,):
            text = re.sub(r"/ip4/([\d.]+)/tcp/4001/p2p/12D3KooW…", address, block.text)
            # Each shell counts its own steps.
            answer = machines[name].do(len(said[name]) + 1, text)
            click.echo(f"\n== {name}, {block.place}\n{text.strip()}\n--\n{answer}")
            said[name].append(answer)
            found = re.finditer(r"^/ip4/([\d.]+)/tcp/4001/p2p/12D3KooW\w+$", answer, re.MULTILINE)
            known |= {match[1]: match[0] for match in found}
    return said


def check(said: dict[str, list[str]]) -> None:
    """Hold what the machines said to what the page promises."""
    *begun, found = said["two"]  # the last is a job on whichever of them is chosen
    one, two = "\n".join(said["one"]), "\n".join(begun)
    assert re.search("^eno yb nur$", two, re.MULTILINE)
    assert re.search("^owt yb nur$", one, re.MULTILINE)
    for text in (one, two):
        assert "stdin, stdout as expected, re-executed on wasm3" in text
    signers = [
        set(re.findall(r"verified ✓ signed by (12D3KooW\w+), not re-executed", text)) for text in (one, two)
    ]
    assert all(len(found) == 1 for found in signers), signers
    assert signers[0] != signers[1], "each receipt is signed by the other machine"
    for signer in (*signers[0], *signers[1]):
        assert re.search(f"^{signer} ", found, re.MULTILINE), "both are found by way of two"
    assert re.search("^eno yb nur$", found, re.MULTILINE)


def main(tree: Path, package: Path) -> None:
    """Copy the tree twice, boot both, and follow the page."""
    with tempfile.TemporaryDirectory(prefix="plasm-two-machines-", dir=tree.parent) as directory:
        with wire() as namespaces, contextlib.ExitStack() as stack:
            machines = {}
            for name, namespace in namespaces.items():
                root = Path(directory) / name
                run("cp", "-a", tree, root)
                machines[name] = stack.enter_context(booted(name, root, namespace))
                shutil.copy(package, root / "home/reader")
            try:
                said = follow(machines)
            except AssertionError:
                for machine in machines.values():
                    click.echo(machine.root.with_suffix(".console").read_text(errors="replace")[-2000:])
                raise
        check(said)
    click.echo("\npassed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
