"""Install the template of every kind with pip beside Plasm, run its tests, and have all of them serve one job.

The verifier's template has a test of its own, test_external_plugin.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import HELLO, OK
from tests.support.daemon import Daemon
from tests.support.installation import Installation, copied, install, wheels
from tests.support.receipts import ROOT

EXAMPLES = ROOT / "examples"
TEMPLATES = ("runtime-pulley", "signer-passphrase", "transport-tls", "discovery-list")
QUICK = "each_kind_of_trap or recursion or what_a_module_prints"
"""Of the runtime's contract, which takes most of a minute; all of it is run with `pytest` as its page says."""
pytestmark = pytest.mark.skipif(os.name != "posix", reason="environments are laid out otherwise")


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("templates")
    return {name: copied(EXAMPLES / f"plasm-{name}", place) for name in TEMPLATES}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, templates: dict[str, Path]) -> Installation:
    """An environment with the templates, which bring Plasm along."""
    directory = tmp_path_factory.mktemp("installed")
    found = wheels(directory / "wheels", ROOT, *templates.values())
    names = [f"plasm-{name}" for name in TEMPLATES]
    return install(directory, found, *names, linked=["phase-plasm", "pytest", "pytest-trio"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_is_listed_with_the_distribution_it_came_in(installed: Installation, name: str) -> None:
    listed = json.loads(installed("plugins", "--json").out)

    (found,) = [item for item in listed if item["distribution"] == f"plasm-{name}"]
    assert (f"{found['kind']}-{found['name']}", found["state"]) == (name, "installed")


@pytest.mark.parametrize("name", TEMPLATES)
def test_its_own_tests_pass_where_it_is_installed(
    installed: Installation, templates: dict[str, Path], name: str
) -> None:
    some = ("-k", QUICK) if name == "runtime-pulley" else ()
    done = installed.python(
        "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *some, cwd=templates[name]
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_an_engine_may_be_a_module_of_one_file(installed: Installation) -> None:
    """The engine is imported in a child with a path of its own."""
    done = installed("run", HELLO, "--runtime", "pulley")

    assert (done.code, done.out) == (OK, b"dlroW ,olleH\n")
    assert "· pulley " in done.err


class Installed(Daemon):
    """A daemon of the environment that has the templates."""

    def __init__(self, home: Path, installation: Installation, *arguments: str) -> None:
        super().__init__(home, *arguments)
        self._installation = installation

    def __enter__(self) -> Installed:
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self._installation.bin("plasmd")), *self.arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        return self.process

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """Run the command line of that environment against it."""
        return subprocess.run(
            [str(self._installation.bin("plasm")), *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=True,
        )


@pytest.fixture
def node(installed: Installation, tmp_path: Path) -> Iterator[Installed]:
    """A node whose signer, runtime and transport are templates."""
    home = tmp_path / "node"
    home.mkdir()
    (home / "passphrase").write_text("correct horse\n")
    with Installed(
        home,
        installed,
        *("--transport", "local,tls", "--set", "transport.tls.port=0", "--lend"),
        *("--signer", "passphrase", "--set", f"signer.passphrase.key={home / 'key'}"),
        *("--set", f"signer.passphrase.passphrase_file={home / 'passphrase'}"),
        *("--runtime", "pulley"),
    ) as daemon:
        daemon.start("ready peer=")
        yield daemon


def test_all_of_them_serve_one_job(installed: Installation, node: Installed, tmp_path: Path) -> None:
    """A gateway finds the node in its list and reaches it over TLS; the node's signer signs what its engine ran."""
    address = json.loads(node.ask("address", "--json").stdout)
    home = tmp_path / "gateway"
    home.mkdir()
    receipt = home / "receipt.json"
    with Installed(
        home,
        installed,
        *("--gateway", "--set", "gateway.transport=tls", "--set", 'plasm.discovery=["list"]'),
        *("--set", f"discovery.list.nodes={json.dumps(address['addresses'])}"),
    ) as gateway:
        gateway.start("ready peer=")
        done = gateway.ask("run", "--gateway", "--receipt", str(receipt), HELLO, "one", "two")

    assert done.stdout == b"owt eno\n"
    peer = address["peerId"]
    assert f"by {peer}" in done.stderr.decode()
    claims = json.loads(node.ask("receipt", "show", "--json", str(receipt)).stdout)["predicate"]["claims"]
    assert claims["runtime"]["name"] == "pulley"
    checked = node.ask(
        *("verify", str(receipt), "--key", peer, "--module", HELLO, "--arg", "one", "--arg", "two"),
        *("--verifier", "signature,reexecute", "--set", 'verifier.reexecute.runtimes=["wasmtime"]'),
    )
    assert b"re-executed on wasmtime" in checked.stdout
