"""Install a third party's distribution with pip beside Plasm, choose its verifier, and see it judge.

It is the template of docs/plugins/tutorial.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from tests.network.sweep import small_network
from tests.support.cli import CONFIGURATION, HELLO, OK, PLUGIN, REJECTED, UNDECIDED, Plasm
from tests.support.installation import Installation, copied, install, wheels
from tests.support.receipts import ROOT

TEMPLATE = ROOT / "examples" / "plasm-verifier-budget"
SECOND = ROOT / "examples" / "plasm-verifier-second"
LIBP2P = importlib.util.find_spec("libp2p") is not None
BUDGET = ("--verifier", "signature,budget")
ENOUGH = "within a budget of 1,000,000 gas"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="environments are laid out otherwise")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(TEMPLATE, tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Installation:
    """An environment with the template, which brings Plasm along; pytest is there for the template's test."""
    directory = tmp_path_factory.mktemp("installed")
    second = copied(SECOND, directory)
    found = wheels(directory / "wheels", ROOT, template, second)
    names = ("plasm-verifier-budget", "plasm-verifier-second")
    linked = ["phase-plasm[libp2p]" if LIBP2P else "phase-plasm", "pytest"]
    return install(directory, found, *names, linked=linked)


def test_no_file_of_this_tree_replaces_an_installed_one(installed: Installation, template: Path) -> None:
    code = "import plasm_core, plasm_verifier_budget as v; print(plasm_core.__file__, v.__file__)"
    files = installed.python("-I", "-c", code, cwd=template)

    (site,) = installed.directory.resolve().glob("lib/python*/site-packages")
    assert files.stdout.split() == [
        str(site / "plasm_core/__init__.py"),
        str(site / "plasm_verifier_budget.py"),
    ]


def test_it_is_listed_with_the_distribution_it_came_in(installed: Installation) -> None:
    listed = json.loads(installed("plugins", "--json").out)

    (found,) = [item for item in listed if item["name"] == "budget"]
    assert (found["kind"], found["state"]) == ("verifier", "installed")
    assert (found["distribution"], found["version"]) == ("plasm-verifier-budget", "0.1")


def test_what_is_not_installed_cannot_be_chosen(tmp_path: Path) -> None:
    done = Plasm(tmp_path)("run", HELLO, *BUDGET)

    assert done.code == PLUGIN
    assert "no installed distribution provides the verifier budget" in done.err


def test_it_judges_what_is_run(installed: Installation) -> None:
    done = installed("run", HELLO, *BUDGET)
    assert (done.code, done.out) == (OK, b"dlroW ,olleH\n")
    assert done.err.splitlines()[-1].endswith(f", {ENOUGH}, not re-executed")

    done = installed("run", HELLO, *BUDGET, "--set", "verifier.budget.gas=5000")
    assert done.code == REJECTED
    assert done.err.splitlines()[-1] == "✗ receipt rejected: 5,650 gas is more than the 5,000 agreed on"


def test_it_judges_a_receipt(installed: Installation, tmp_path: Path) -> None:
    receipt = str(tmp_path / "r.json")
    assert installed("run", HELLO, "--receipt", receipt).code == OK

    done = installed("verify", receipt, *BUDGET)
    assert done.code == OK
    assert ENOUGH in done.out.decode()
    assert installed("verify", receipt, *BUDGET, "--set", "verifier.budget.gas=5000").code == REJECTED


def test_it_is_configured_by_its_own_table(installed: Installation, tmp_path: Path) -> None:
    file = tmp_path / "plasm.toml"
    file.write_text('[plasm]\nverifier = ["signature", "budget"]\n[verifier.budget]\ngas = 5000\n')
    assert installed("run", HELLO, "--config", str(file)).code == REJECTED

    done = installed("run", HELLO, *BUDGET, "--set", "verifier.budget.gaz=1")
    assert done.code == CONFIGURATION
    assert "verifier.budget.gaz: unknown field" in done.err


def test_its_own_test_passes_where_it_is_installed(installed: Installation, template: Path) -> None:
    done = installed.python("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", cwd=template)

    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_daemon_takes_it_too(installed: Installation) -> None:
    if not installed.bin("plasmd").exists():
        pytest.skip("this distribution has no command plasmd yet")
    plasmd = Plasmd(installed.home, installed.directory)

    assert plasmd("--check", *BUDGET).code == OK
    done = plasmd("--check", *BUDGET, "--set", "verifier.budget.gaz=1")
    assert done.code == CONFIGURATION
    assert "verifier.budget.gaz: unknown field" in done.err
    assert plasmd("--check", "--verifier", "nobody").code == PLUGIN


def test_the_verifier_that_learns_passes_its_own_test_too(installed: Installation) -> None:
    done = installed.python(
        *("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
        cwd=installed.directory.parent / SECOND.name,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_result_of_one_machine_has_no_second_node(installed: Installation) -> None:
    done = installed("run", HELLO, "--verifier", "signature,second")

    assert done.code == UNDECIDED
    assert "a second node is needed" in done.err


@pytest.mark.skipif(not LIBP2P, reason="libp2p is not installed: pip install 'phase-plasm[libp2p]'")
def test_it_has_a_second_node_of_a_network_run_the_job_and_remembers_it(
    installed: Installation, tmp_path: Path
) -> None:
    with small_network(tmp_path / "network", nodes=2) as bootstrap:
        reach = ("--bootstrap", bootstrap, "--set", "discovery.kademlia.allow_private=true")
        done = installed("run", HELLO, *reach, "--verifier", "signature,second")
        known = json.loads(installed("reputation", "show", "--json").out)["nodes"]

    assert (done.code, done.out) == (OK, b"dlroW ,olleH\n"), done.err
    assert "a second node agrees" in " ".join(done.err.split())
    assert [node["checked"] for node in known] == [1, 1]


class Plasmd(Installation):
    """The daemon's command, in the same environment."""

    def command(self, *arguments: str) -> list[str]:
        return [str(self.bin("plasmd")), *arguments]
