"""Hold debian/ to the code it packages, as far as that is quick: script/build-deb and script/test-deb do the rest."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest

import plasm_core
from plasm_core import config
from plasm_core.cli.commands import cli
from plasm_core.config import Config
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import KINDS
from tests.support.installation import copied, wheels

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "debian"
UNIT = DEBIAN / "plasm.plasmd.service"
WEB_UNIT = DEBIAN / "plasm.plasm-web.service"
CONFFILE = DEBIAN / "plasmd.toml"
DEFAULTS = DEBIAN / "defaults.toml"
MOST_EXPOSED = 20  # tenths

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def loaded(file: Path) -> Config:
    return config.load(file=file, environ={})


def without_plugins(found: Config) -> Config:
    return attrs.evolve(found, components={})


def commands(command: click.Command, name: str) -> Iterator[str]:
    yield name
    if isinstance(command, click.Group):
        for item, sub in command.commands.items():
            yield from commands(sub, f"{name}-{item}")


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="there the network's default is to listen without QUIC"
)
@pytest.mark.parametrize(("file", "options"), [(CONFFILE, []), (DEFAULTS, ["--defaults"])])
def test_the_configuration_is_what_the_code_makes_of_its_settings(file: Path, options: list[str]) -> None:
    made = run(sys.executable, DEBIAN / "conffile.py", *options)

    assert made.returncode == 0, made.stderr
    how = f"run: python debian/conffile.py {' '.join(options)} >debian/{file.name}"
    assert file.read_text() == made.stdout, how


def test_the_conffile_lets_a_group_in_and_changes_nothing_else() -> None:
    found = loaded(CONFFILE)

    assert without_plugins(found) == Config()
    assert found.components["transport"] == {"local": {"mode": "0660", "group": "plasm"}}
    assert not any(tables for kind, tables in found.components.items() if kind != "transport")


def test_the_conffile_names_no_default_so_that_a_release_seldom_changes_it() -> None:
    lines = [line for line in CONFFILE.read_text().splitlines() if line and not line.startswith("#")]

    assert lines == ["[transport.local]", 'mode = "0660"', 'group = "plasm"']


def test_a_drop_in_lends_as_the_pages_say(tmp_path: Path) -> None:
    file = tmp_path / "plasmd.toml"
    file.write_text(CONFFILE.read_text())
    (tmp_path / "plasmd.d").mkdir()
    page = (DEBIAN.parent / "docs" / "two-machines.md").read_text()
    (tmp_path / "plasmd.d" / "lend.toml").write_text(
        page.partition("plasmd.d/lend.toml > /dev/null <<'EOF'\n")[2].partition("EOF\n")[0]
    )

    found = loaded(file)

    assert (found.policy.lend, found.plasm.transport) == (True, ("local", "libp2p"))
    assert found.table("transport", "local") == {"mode": "0660", "group": "plasm"}


@pytest.mark.skipif(os.geteuid() != 0, reason="it makes a user in a private /etc, which needs root")
@pytest.mark.parametrize("before", ["", "useradd --system --no-user-group --gid nogroup plasm"])
def test_the_accounts_are_made_even_if_a_user_has_the_name_already(tmp_path: Path, before: str) -> None:
    if any(shutil.which(tool) is None for tool in ("unshare", "addgroup", "adduser", "useradd")):
        pytest.skip("there is no unshare, adduser or useradd here")
    script = f"""set -e
        cp -a /etc {tmp_path}/etc
        mount --bind {tmp_path}/etc /etc
        {before}
        {DEBIAN}/make-accounts
        {DEBIAN}/make-accounts
        id --user --name plasm; getent group plasm | cut -d: -f1"""

    done = run("unshare", "--mount", "sh", "-c", script)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == ["plasm", "plasm"]


def test_every_default_can_be_taken_as_it_is(tmp_path: Path) -> None:
    """Removing a # gives the default, not an error."""
    file = tmp_path / "plasmd.toml"
    file.write_text(re.sub(r"(?m)^#(?=\[|[a-z_0-9]+ = )", "", DEFAULTS.read_text()))

    found = loaded(file)

    assert without_plugins(found) == Config()
    for kind, tables in found.components.items():
        for name, table in tables.items():
            component = loading.create(KINDS[kind], name, table)
            shown = {key: tuple(item) if isinstance(item, list) else item for key, item in table.items()}
            assert {key: getattr(component, key) for key in table} == shown


def test_there_is_a_manual_page_for_every_command(tmp_path: Path) -> None:
    made = run(sys.executable, DEBIAN / "manpages.py", tmp_path)

    assert made.returncode == 0, made.stderr
    assert {page.stem for page in tmp_path.glob("*.1")} == {*commands(cli, "plasm"), "plasmd"}
    for page in tmp_path.glob("*.1"):
        assert "Exit codes: 0 ok" in page.read_text() or page.stem in ("plasm-key", "plasm-receipt")
    if groff := shutil.which("groff"):
        for page in tmp_path.glob("*.1"):
            assert run(groff, "-man", "-Tutf8", "-Kutf8", "-ww", "-z", page).stderr == ""


@needs_analyze
@pytest.mark.parametrize(("source", "drop_in"), [(UNIT, None), (UNIT, "pulley.conf"), (WEB_UNIT, None)])
def test_systemd_understands_the_unit(tmp_path: Path, source: Path, drop_in: str | None) -> None:
    unit = tmp_path / source.name.removeprefix("plasm.")
    text = re.sub(r"(?m)^(ExecStart=)\S+", r"\1/bin/true", source.read_text())
    unit.write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    if drop_in is not None:
        (tmp_path / "plasmd.service.d").mkdir()
        shutil.copy(DEBIAN / drop_in, tmp_path / "plasmd.service.d")

    verified = run("systemd-analyze", "verify", "--man=no", unit)

    complaints = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, complaints) == (0, [])


@needs_analyze
@pytest.mark.parametrize("source", [UNIT, WEB_UNIT])
def test_the_unit_is_hardly_exposed(tmp_path: Path, source: Path) -> None:
    if "--offline" not in run("systemd-analyze", "--help").stdout:
        pytest.skip("this systemd-analyze looks at running units only")
    unit = shutil.copy(source, tmp_path / source.name.removeprefix("plasm."))

    judged = run(
        "systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={MOST_EXPOSED}", unit
    )

    assert judged.returncode == 0, judged.stdout


def test_the_unit_gives_jobs_longer_to_end_than_the_daemon_does() -> None:
    timeout = re.search(r"(?m)^TimeoutStopSec=(\d+)$", UNIT.read_text())

    assert timeout is not None
    assert int(timeout[1]) > Config().daemon.shutdown_s


def test_the_unit_permits_what_workers_lock_themselves_in_with() -> None:
    """The groups of systemd before 256 have neither landlock nor seccomp(2), which V8's workers call."""
    (added,) = re.findall(r"(?m)^SystemCallFilter=([a-z].*)$", UNIT.read_text())

    assert {"landlock_create_ruleset", "landlock_restrict_self", "seccomp"} <= set(added.split())


def test_the_changelog_is_of_this_version() -> None:
    version = re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", plasm_core.__version__)

    assert (DEBIAN / "changelog").read_text().startswith(f"plasm ({version})")


def make_environment(prefix: Path, wheelhouse: Path) -> subprocess.CompletedProcess[str]:
    return run(DEBIAN / "make-environment", prefix, sys.executable, wheelhouse)


def pin(wheelhouse: Path, digest: str) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    line = f"plasm-verifier-budget==0.1 --hash=sha256:{digest}\n"
    (wheelhouse / f"requirements-{version}.txt").write_text(line)


def test_a_python_without_wheels_is_refused(tmp_path: Path) -> None:
    made = make_environment(tmp_path / "prefix", tmp_path)

    assert made.returncode == 1
    assert "this package has no wheels for Python" in made.stderr


def test_the_environment_is_made_of_the_wheels_that_were_built_and_no_others(tmp_path: Path) -> None:
    """The example of a plugin stands in for Plasm: it builds quickly, and needs nothing."""
    wheelhouse = wheels(tmp_path / "wheels", copied(ROOT / "examples" / "plasm-verifier-budget", tmp_path))
    (wheel,) = wheelhouse.glob("*.whl")
    prefix = tmp_path / "prefix"

    pin(wheelhouse, "0" * 64)
    tampered = make_environment(prefix, wheelhouse)
    pin(wheelhouse, hashlib.sha256(wheel.read_bytes()).hexdigest())
    made = [make_environment(prefix, wheelhouse) for _ in range(2)]

    assert tampered.returncode != 0
    assert "DO NOT MATCH THE HASHES" in tampered.stderr
    assert [(item.returncode, item.stdout) for item in made] == [(0, "")] * 2, made
    assert len(list(prefix.glob("lib/python*/site-packages/plasm_verifier_budget.py"))) == 1
