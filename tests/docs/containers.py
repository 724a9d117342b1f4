"""Follow docs/containers.md: build the image, run its commands in order, and hold what they say to the page.

`python -m tests.docs.containers` with `docker` on the path; script/test-container provides it. Containers and volumes
have the names that the page gives them, so none of these may be there before.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence

import click

from tests.docs.pages import DOCS, blocks
from tests.support.receipts import ROOT

PAGE = DOCS / "containers.md"
NAMES = ("plasm", "lender")
LAYERS = ("rlimits", "no_new_privs", "namespaces", "landlock", "seccomp")
_STEP_S = 1500
_HEALTHY_S = 120


def docker(*arguments: str, check: bool = True) -> str:
    """Run docker, and return what it says on standard output."""
    done = subprocess.run(
        ["docker", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_STEP_S
    )
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def paste(text: str) -> str:
    """Run a block of the page in the clone, and return what it says. Raises: AssertionError if it fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_STEP_S,
    )
    click.echo(f"\n$ {text.strip()}\n{done.stdout}")
    assert done.returncode == 0, f"exit code {done.returncode}"
    return done.stdout


def container_log(name: str) -> str:
    """Return the log of a container's daemon."""
    done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def check_private() -> None:
    """Hold the private node to the page: layers, user, process 1, health check, no zombies."""
    found = docker("exec", "plasm", "plasm", "doctor")
    click.echo(found)
    missing = [layer for layer in LAYERS if f"✓ sandbox {layer}: on" not in found]
    assert missing == [], f"layers are missing: {missing}"
    assert docker("exec", "plasm", "id", "-u").strip() == "10001"
    # The first process only waits; the daemon is its child.
    inside = "for stat in /proc/[0-9]*/stat; do cut -d' ' -f1,3,4 $stat; done 2>/dev/null"
    rows = [line.split() for line in docker("exec", "plasm", "sh", "-c", inside).splitlines()]
    assert [row for row in rows if row[1] == "Z"] == [], f"zombies: {rows}"
    assert [row for row in rows if row[2] == "1"], "process 1 has no child"
    deadline = time.monotonic() + _HEALTHY_S
    while docker("exec", "plasm", "sh", "-c", _health_check(), check=False) != "healthy\n":
        assert time.monotonic() < deadline, "the health check never succeeds"
        time.sleep(0.5)


def _health_check() -> str:
    """Return the image's health check as a script that prints `healthy`."""
    (image,) = json.loads(docker("image", "inspect", "plasm"))
    test: Sequence[str] = image.get("Healthcheck", image["Config"].get("Healthcheck"))["Test"]
    assert test[:3] == ["CMD", "sh", "-c"], test
    return f"({test[3]}) && echo healthy"


def check_stopped(said: str) -> None:
    """Hold the submitted job's output, and the orderly end of the daemon, to the page."""
    assert "owt eno" in said, "the job through the daemon"
    log = container_log("plasm")
    assert "signal received signal=SIGTERM" in log, "the daemon did not see the signal"
    assert re.search(r"ended$", log, re.MULTILINE), "the daemon did not end in order"
    ready = re.findall(r"ready peer=(\S+)", log)
    deadline = time.monotonic() + _HEALTHY_S
    while len(ready) < 2:
        assert time.monotonic() < deadline, "the daemon is not ready after its second start"
        time.sleep(0.5)
        ready = re.findall(r"ready peer=(\S+)", container_log("plasm"))
    assert len(set(ready)) == 1, "the key did not survive the restart"


def check_lender() -> None:
    """Hold the lending node's limits to the page."""
    log = container_log("lender")
    ready = re.search(r"ready .* cpu=(\d+) memory_bytes=(\d+) lends=yes", log)
    assert ready is not None, log
    assert (int(ready[1]) <= 2, int(ready[2])) == (True, 3 * (2 << 30) // 4), ready[0]


def main() -> None:
    """Run every block of the page that can be run, and what each of them promises."""
    for name in NAMES:
        assert not docker("ps", "--all", "--quiet", "--filter", f"name=^{name}$").strip(), f"{name} exists"
    for name in set(NAMES).intersection(docker("volume", "ls", "--quiet").split()):
        raise AssertionError(f"the volume {name} exists")
    said: list[str] = []
    try:
        for block in blocks(PAGE):
            if block.language == "sh" and "not run" not in block.notes:
                said.append(paste(block.text))
                if len(said) == 1:
                    assert "dlroW ,olleH" in said[0], "the demo"
                    check_private()
        check_stopped(said[1])
        check_lender()
        assert "sdrow emos" in said[-1], "the job on the lending node"
    except BaseException:
        for name in NAMES:
            click.echo(f"\n== the log of {name}\n{container_log(name)}")
        raise
    finally:
        for name in NAMES:
            docker("rm", "--force", name, check=False)
            docker("volume", "rm", name, check=False)
    size = json.loads(docker("image", "inspect", "plasm"))[0]["Size"]
    click.echo(f"\npassed; the image takes {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
