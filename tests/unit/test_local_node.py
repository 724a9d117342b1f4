"""Hold the composition root: components are made when needed, and what policy denies is refused before."""

from pathlib import Path

import pytest

from plasm_core import config
from plasm_core.errors import ConfigError, PluginMissingError, RefusedError
from plasm_core.execution import run_job
from plasm_core.local_node import LocalNode
from plasm_core.policy import check_policy
from plasm_core.records import JobInput
from tests.support.receipts import MODULE, manifest

pytestmark = pytest.mark.usefixtures("homes")

ASKS = manifest(capabilities=("clock.real", "random.real"))


def load(*settings: str) -> config.Config:
    return config.load(settings=settings, environ={})


def test_a_grant_outside_the_policy_is_refused_by_name() -> None:
    with pytest.raises(RefusedError) as caught:
        check_policy(ASKS, load('policy.grants=["clock.real"]'))

    assert caught.value.reason == "capability_denied"
    assert str(caught.value) == "this node does not grant random.real"


def test_a_grant_of_the_policy_is_allowed() -> None:
    check_policy(manifest(), load())
    check_policy(ASKS, load('policy.grants=["clock.real", "random.real"]'))


def test_the_hint_works_when_pasted_into_a_shell() -> None:
    import shlex

    with pytest.raises(RefusedError) as caught:
        check_policy(ASKS, load())

    assert caught.value.hint is not None
    setting = shlex.split(caught.value.hint.partition("--set ")[2])[0]
    check_policy(ASKS, load(setting))


def test_a_denied_job_makes_no_key_and_starts_nothing(homes: Path) -> None:
    with pytest.raises(RefusedError, match=r"does not grant"):
        run_job(LocalNode(load()), MODULE, JobInput(), ASKS, lambda _stream, _data: None)

    assert list(homes.rglob("*")) == []


def test_a_module_or_input_that_the_manifest_does_not_name_is_refused() -> None:
    import wasmtime

    code = bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start")))'))
    with pytest.raises(RefusedError) as caught:
        run_job(LocalNode(load()), code, JobInput(), manifest(), lambda _stream, _data: None)

    assert caught.value.reason == "digest_mismatch"


def test_components_are_made_when_first_needed_and_once() -> None:
    node = LocalNode(load("plasm.runtime=missing"))

    assert node.signer is node.signer
    assert [verifier.name for verifier in node.verifiers] == ["signature"]
    with pytest.raises(PluginMissingError):
        node.runtime()
    assert node.runtime("wasmtime").name == "wasmtime"


def test_a_component_gets_its_own_table() -> None:
    assert LocalNode(load("runtime.wasmtime.target=pulley64")).runtime().options()["target"] == "pulley64"
    with pytest.raises(
        ConfigError, match=r"^runtime\.wasmtime\.targt: unknown field, did you mean target\?$"
    ):
        LocalNode(load("runtime.wasmtime.targt=native")).runtime()
    with pytest.raises(ConfigError, match=r"^runtime\.wasmtime\.target: "):
        LocalNode(load("runtime.wasmtime.target=vax")).runtime()
