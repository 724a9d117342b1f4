"""Hold the configuration: what beats what, and that every wrong key is named."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest

from plasm_core import config
from plasm_core.cli import exits
from plasm_core.config import AdmissionLimits, Config, PluginSelection, Policy
from plasm_core.errors import ConfigError, InvalidRecordError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Transport
from plasm_core.records.converter import structure
from plasm_core.records.fields import constrained, text
from plasm_core.records.outcome import optional
from tests.support.users import interpreter_of

pytestmark = pytest.mark.usefixtures("homes")


@attrs.frozen(kw_only=True)
class _Texts:
    """Fields for strings, with a constraint and without."""

    key: str | None = constrained(optional(text()), default=None)
    plain: str = ""


def load(toml: str = "", *, settings: tuple[str, ...] = (), flags: Any = None, **environ: str) -> Config:
    path = Path("plasm.toml")
    path.write_text(toml)
    return config.load(file=path, settings=settings, overrides=flags, environ=environ)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(*args: Any, **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(*args, **more)
    return str(caught.value)


def test_with_nothing_at_all_there_are_defaults() -> None:
    found = config.load(environ={})

    assert (found.plasm, found.admission, found.policy) == (PluginSelection(), AdmissionLimits(), Policy())
    assert found.plasm == PluginSelection(
        runtime="wasmtime", validator="wasmtime", signer="ed25519", verifier=("signature",)
    )
    assert found.policy.grants == ()
    assert not any(found.components.values())


def test_flags_override_settings_environment_file_and_default_in_that_order() -> None:
    toml = '[plasm]\nruntime = "file"\nvalidator = "file"\nsigner = "file"\nverifier = ["file"]'
    environ = {"PLASM_RUNTIME": "env", "PLASM_VALIDATOR": "env", "PLASM_SIGNER": "env"}
    settings = ("plasm.runtime=setting", "plasm.validator=setting")

    found = load(toml, settings=settings, flags={"plasm.runtime": "flag"}, **environ).plasm

    assert found == PluginSelection(runtime="flag", validator="setting", signer="env", verifier=("file",))


def test_layers_meet_in_one_table() -> None:
    found = load(
        "[admission]\ncpu_s = 1\nmodule_bytes = 100",
        settings=("admission.cpu_s=3",),
        PLASM_ADMISSION__CPU_S="2",
        PLASM_ADMISSION__CACHE_BYTES="7",
    )

    assert found.admission == AdmissionLimits(cpu_s=3, module_bytes=100, cache_bytes=7)


def test_the_users_own_file_is_read_when_none_is_named(homes: Path) -> None:
    path = homes / "config" / "plasm" / "plasm.toml"
    path.parent.mkdir(parents=True)
    path.write_text('[plasm]\nruntime = "mine"')

    assert config.load(environ={}).plasm.runtime == "mine"


def test_a_file_named_by_flag_overrides_the_one_named_by_the_environment() -> None:
    Path("env.toml").write_text('[plasm]\nruntime = "env"')

    assert config.load(environ={"PLASM_CONFIG": "env.toml"}).plasm.runtime == "env"
    assert load('[plasm]\nruntime = "flag"', PLASM_CONFIG="env.toml").plasm.runtime == "flag"


@pytest.mark.parametrize("by_flag", [True, False])
def test_a_named_file_that_is_missing_is_named(by_flag: bool) -> None:
    environ = {} if by_flag else {"PLASM_CONFIG": "missing.toml"}
    with pytest.raises(ConfigError, match=r"^no configuration file at missing\.toml$"):
        config.load(file=Path("missing.toml") if by_flag else None, environ=environ)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^cannot read \.: Is a directory$"):
        config.load(file=Path(), environ={})


def test_a_user_with_the_home_of_another_is_told_what_to_set() -> None:
    user = interpreter_of("ordinary")
    with tempfile.TemporaryDirectory() as home:
        user = attrs.evolve(user, environment={**user.environment, "HOME": home})

        done = user.run("-m", "plasm_core.cli", "doctor")

    assert done.returncode == exits.CONFIGURATION
    assert b"Permission denied" in done.stderr
    assert b"hint: set HOME or XDG_CONFIG_HOME to a directory of yours" in done.stderr


@pytest.mark.parametrize("data", [b"[plasm", b"x = ", b"\xff", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(data: bytes) -> None:
    Path("bad.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=r"^bad\.toml is not TOML: "):
        config.load(file=Path("bad.toml"), environ={})


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[admision]\ncpu_s = 1", "admision: unknown section"),
        ("colour = 1", "colour: unknown section"),
        ("[admission]\ncpu = 1", "admission.cpu: unknown field"),
        ('[admission]\ncpu_s = "30"', 'admission.cpu_s: expected an integer ≥ 1, got "30"'),
        ("[admission]\ncpu_s = true", "admission.cpu_s: expected an integer ≥ 1, got true"),
        ("[admission]\ncpu_s = 0", "admission.cpu_s: expected an integer ≥ 1, got 0"),
        ("[admission]\nmodule_bytes = 7", "admission.module_bytes: expected an integer ≥ 8, got 7"),
        ("admission = 5", "admission: expected an object"),
        ("plasm = 5", "plasm: expected an object"),
        ("[plasm]\nruntme = 'x'", "plasm.runtme: unknown field"),
        ("[policy]\ngrants = ['net']", "policy.grants: expected a list of distinct names out of"),
        ("[policy]\ncapabilities = ['clock.real']", "policy.capabilities: is called policy.grants now"),
        ("signer = 5", "signer: expected a table for each signer, as in [signer.name]"),
        ("[signer]\nkey = 'x'", "signer: expected a table for each signer, as in [signer.name]"),
    ],
)
def test_a_wrong_key_is_named(toml: str, message: str) -> None:
    assert refusal(toml).startswith(message)


def test_every_wrong_key_is_named_at_once() -> None:
    message = refusal("x = 1\n[admission]\ncpu = 1\n[policy]\nmode = 2\n[runtime]\ny = 3")

    names = ["x", "runtime", "admission.cpu", "policy.mode"]
    assert [part.partition(":")[0] for part in message.split("; ")] == names


@pytest.mark.parametrize("name", ["PLASM_RUNTME", "PLASM_", "PLASM_COLOUR", "PLASM_CPU_S"])
def test_an_unknown_variable_is_named(name: str) -> None:
    assert refusal(**{name: "x"}).startswith(f"unknown environment variable {name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PLASM_ADMISSION__CPU", "admission.cpu: unknown field"),
        ("PLASM_ADMISION__CPU_S", "admision: unknown section"),
        ("PLASM_ADMISSION__CPU_S__X", "admission.cpu_s: expected an integer ≥ 1, got an object"),
    ],
)
def test_a_variable_with_a_wrong_key_is_named_by_its_key(name: str, message: str) -> None:
    assert refusal(**{name: "5"}).startswith(message)


def test_variables_of_other_programs_are_ignored() -> None:
    assert load(PLASM_SOCKET="/run/x", PATH="/bin", XPLASM_Y="1", plasm_runtime="x") == load()


def test_a_component_has_a_table_of_its_own() -> None:
    found = load(
        "[signer.ed25519]\nkey = 'file'\n[verifier.quorum]\nreplicas = 3",
        settings=("verifier.quorum.replicas=5",),
        PLASM_SIGNER__ED25519__KEY="/env/key",
    )

    assert found.table("signer", "ed25519") == {"key": "/env/key"}
    assert found.table("verifier", "quorum") == {"replicas": 5}
    assert found.table("verifier", "other") == found.table("transport", "x") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("true", True),
        ('"5"', "5"),
        ("[1, 2]", [1, 2]),
        ("/a/b.key", "/a/b.key"),
        ("", ""),
        ("a=b", "a=b"),
        ("2026", 2026),
        ("with space", "with space"),
        ("' '", " "),
    ],
)
def test_a_setting_is_read_as_toml_else_as_text(text: str, value: Any) -> None:
    found = load(settings=(f"signer.x.key={text}",))

    assert found.table("signer", "x") == {"key": value}


@pytest.mark.parametrize("setting", ["admission.cpu_s", "", "x"])
def test_a_setting_without_a_value_is_refused(setting: str) -> None:
    assert refusal(settings=(setting,)) == f'--set {setting}: expected key=value, as in "admission.cpu_s=30"'


def test_a_setting_below_a_value_that_is_no_table_is_refused() -> None:
    assert refusal("plasm = 5", settings=("plasm.runtime=x",)) == "plasm.runtime: plasm is no table"
    assert refusal(settings=("a.b.c=1", "a.b=2", "a.b.c=3")) == "a.b.c: b is no table"


@pytest.mark.parametrize("text", ["signature,quorum", " signature , quorum ,", "signature,,quorum"])
def test_verifiers_are_listed_with_commas(text: str) -> None:
    assert load(PLASM_VERIFIER=text).plasm.verifier == ("signature", "quorum")
    assert load(flags={"plasm.verifier": text}).plasm.verifier == ("signature", "quorum")
    assert load(f'[plasm]\nverifier = "{text}"').plasm.verifier == ("signature", "quorum")


@pytest.mark.parametrize("name", ["Wasmtime", "../x", "wasm time", "x" * 65])
def test_a_plugin_name_that_cannot_be_one_is_refused(name: str) -> None:
    assert refusal(PLASM_RUNTIME=name).startswith("plasm.runtime: expected a string")


@pytest.mark.parametrize(
    "variable", ["PLASM_RUNTIME", "PLASM_VERIFIER", "PLASM_CONFIG", "PLASM_SANDBOX__REQUIRE"]
)
@pytest.mark.parametrize("value", ["", " "])
def test_a_variable_that_is_set_but_empty_is_refused(variable: str, value: str) -> None:
    """A shell sets it so where what it was to be is not set."""
    assert refusal(**{variable: value}) == f"the environment variable {variable} is empty"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PLASM_PORT", "tcp://10.0.0.1:4001"),
        ("PLASM_SERVICE_HOST", "10.0.0.1"),
        ("PLASM_SERVICE_PORT", "4001"),
        ("PLASM_SERVICE_PORT_QUIC_V1", "4001"),
        ("PLASM_PORT_4001_UDP", "udp://10.0.0.1:4001"),
        ("PLASM_PORT_4001_TCP_PROTO", "tcp"),
        ("PLASM_PORT_4001_TCP_PORT", "4001"),
        ("PLASM_NODE_EU_PORT", "sctp://10.0.0.1:4001"),
        ("PLASM_RUNTIME_SERVICE_HOST", "fd00::1"),
    ],
)
def test_variables_of_a_service_called_plasm_are_ignored(variable: str, value: str) -> None:
    assert load(settings=(), **{variable: value}) == load()


@pytest.mark.parametrize("variable", ["PLASM_PORT", "PLASM_SERVICE", "PLASM_RUNTIMES", "PLASM_DAEMON_PORT_X"])
def test_other_variables_of_our_prefix_are_still_refused(variable: str) -> None:
    assert refusal(**{variable: "4001"}).startswith(f"unknown environment variable {variable}")


@pytest.mark.parametrize(
    "toml", ["verifier = [5]", "verifier = [true]", "verifier = {a = 1}", "verifier = ['']"]
)
def test_a_verifier_that_is_no_name_is_refused(toml: str) -> None:
    assert refusal(f"[plasm]\n{toml}").startswith("plasm.verifier: expected")


@pytest.mark.parametrize("written", ["0", "1000", "0x10", "1_0"])
def test_a_number_in_a_variable_is_text_where_a_field_wants_text(written: str) -> None:
    """A user may be named by number, and only the field knows that it is no quantity."""
    found = load(PLASM_SIGNER__ED25519__KEY=written, settings=(f"verifier.jury.name={written}",))

    assert structure(found.table("signer", "ed25519"), _Texts, record="signer").key == written
    assert structure({"plain": found.table("verifier", "jury")["name"]}, _Texts, record="it").plain == written


def test_a_number_in_a_file_is_no_text() -> None:
    found = load("[signer.ed25519]\nkey = 0")
    with pytest.raises(InvalidRecordError):
        structure(found.table("signer", "ed25519"), _Texts, record="signer")


def test_a_variable_names_a_trusted_user_by_number() -> None:
    found = load(PLASM_TRANSPORT__LOCAL__TRUSTED_USER="0", PLASM_TRANSPORT__LOCAL__MAX_CONNECTIONS="5")
    made = loading.create(Transport, "local", found.table("transport", "local"))  # type: ignore[type-abstract]

    assert made.trusted_user == "0"  # type: ignore[attr-defined]
    assert made.max_connections == 5  # type: ignore[attr-defined]
