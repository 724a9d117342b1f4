"""What a guest that broke out of its engine can do in its worker: nothing. Attempted natively, in real workers."""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from plasm_core.config import SANDBOX_LAYERS, AdmissionLimits, SandboxConfig
from plasm_core.errors import BadModuleError, SandboxError
from plasm_core.records import Limits
from plasm_core.sandbox.admission.admission import Admission
from plasm_core.sandbox.admission.cache import Cache
from plasm_core.sandbox.process import seccomp_filters
from plasm_core.sandbox.process.descriptor import read_all
from plasm_core.sandbox.process.executor import Executor
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from plasm_runtime_wasmtime.validator import WasmtimeValidator
from tests.support import processes
from tests.support.attempts.catalogue import ALLOWED, ATTEMPTS, EARLY
from tests.support.hostile import HostileRuntime, HostileValidator, ask, program_of, syscall_numbers
from tests.support.hostile_engine import ATTEMPT_WHILE_LOADING, TAKEN_AWAY
from tests.support.hostile_reports import needs, reported
from tests.support.users import USERS
from tests.support.wat import starting

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SYS_CLONE, reason="there are no zygotes here"
)

LIMITS = Limits(gas=1_000_000, memory_bytes=16 << 20, output_bytes=1 << 20)
ALL_LAYERS_OF_A_ZYGOTE = tuple(layer for layer in SANDBOX_LAYERS if layer != "no_new_privs")


def _result(user: str, name: str, *options: str) -> dict[str, Any]:
    """Return what came of one attempt. With options, name the others that are made in the same run."""
    result: dict[str, Any] = reported(user, *options)["results"][name]
    return result


def _errno(user: str, name: str, *options: str) -> str | None:
    result = _result(user, name, *options)
    assert result["outcome"] == "exited with code 0"
    errno: str | None = result["errno"]
    if errno == "absent":
        pytest.skip(result["detail"])
    return errno


def _without(*layers: str) -> list[str]:
    return [f"--without={layer}" for layer in layers]


# -- all layers


@pytest.mark.parametrize("name", ATTEMPTS)
@pytest.mark.parametrize("user", USERS)
def test_a_worker_is_denied(user: str, name: str) -> None:
    assert _errno(user, name) == "EPERM"


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("user", USERS)
def test_a_worker_is_granted(user: str, name: str) -> None:
    assert _errno(user, name) is None


@pytest.mark.parametrize("name", [name for name in ATTEMPTS if ATTEMPTS[name].control != "none"])
def test_attempts_succeed_where_nothing_is_denied(name: str) -> None:
    """So that none of them fails for a reason of its own."""
    user = "root" if os.geteuid() == 0 else "ordinary"
    if ATTEMPTS[name].control == "root" and user != "root":
        pytest.skip("only root may")
    errno = _errno(user, name, "--bare")
    if errno in ("EPERM", "ENOSYS"):  # a container's own filter
        pytest.skip("this machine denies it to everybody")

    assert errno is None


@pytest.mark.parametrize("user", USERS)
def test_a_layer_that_is_missing_is_reported_with_the_reason(user: str) -> None:
    """Ordinary users, and root in a container, may lack namespaces, and an old kernel Landlock."""
    report = reported(user)

    assert (report["uid"] == 0) == (user == "root")
    assert set(report["missing"]) <= {"landlock", "namespaces"}
    assert all(report["missing"].values())


@pytest.mark.parametrize("user", USERS)
def test_no_system_call_but_the_listed_is_let_through(user: str) -> None:
    """Each of those there are, made with arguments that are never right: the filter must answer first."""
    assert _result(user, "sweep", "sweep")["detail"] == {}


@pytest.mark.parametrize("user", USERS)
def test_system_calls_of_another_calling_convention_end_the_worker(user: str) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("x32 is x86-64's")

    assert _result(user, "x32", "x32")["outcome"] == "system error: the worker died (SIGSYS)"


@pytest.mark.parametrize("user", USERS)
def test_a_worker_has_its_socket_and_its_input_open_and_nothing_else(user: str) -> None:
    found = _result(user, "descriptors", "descriptors")["detail"].values()

    assert sum(item["kind"] == "socket" for item in found) == 1
    files = [item for item in found if item["kind"] == "file" and item["read"]]
    assert [item["read"] for item in files] == ["standard input"]
    assert files[0]["write"] in ("EPERM", "EFBIG")  # by its seals, or by the limit on files
    rest = [item for item in found if item["kind"] == "file" and not item["read"]]
    assert {item["write"] for item in rest} <= {1, "EBADF"}  # /dev/null takes what it is given


@pytest.mark.parametrize("user", USERS)
def test_a_worker_can_send_to_nobody_but_its_node(user: str) -> None:
    assert _result(user, "send_everywhere", "send_everywhere")["detail"] == []


@pytest.mark.parametrize("user", USERS)
def test_a_worker_has_no_environment(user: str) -> None:
    found = _result(user, "environment", "environment")["detail"]

    assert set(found["python"]) <= {"LC_CTYPE"}  # which Python sets for itself
    assert {item.partition("=")[0] for item in found["libc"]} <= {"LC_CTYPE"}


# -- engines with threads, whose workers start by themselves and may make code

CODE = {"map_executable", "map_writable_and_executable", "map_executable_with_high_bits"}
CODE |= {"make_executable", "make_executable_with_key"}


@functools.cache
def _threaded(user: str, *names: str) -> dict[str, Any]:
    return reported(user, "--threaded", *names)


@pytest.mark.parametrize("user", USERS)
def test_a_worker_with_threads_is_denied_everything_but_making_code(user: str) -> None:
    results = _threaded(user)["results"]

    assert {said["outcome"] for said in results.values()} == {"exited with code 0"}
    denied = {name for name, said in results.items() if said["errno"] in ("EPERM", "absent")}
    assert denied == set(ATTEMPTS) - CODE
    assert [results[name]["errno"] for name in ALLOWED] == [None] * len(ALLOWED)


@pytest.mark.parametrize("user", USERS)
def test_a_worker_with_threads_has_its_socket_and_its_input_open_and_nothing_else(user: str) -> None:
    found = _threaded(user, "descriptors")["results"]["descriptors"]["detail"].values()

    assert sum(item["kind"] == "socket" for item in found) == 1
    assert [item["read"] for item in found if item["kind"] == "file" and item["read"]] == ["standard input"]


@pytest.mark.parametrize("user", USERS)
def test_a_worker_with_threads_reaches_nobody_and_knows_nothing(user: str) -> None:
    results = _threaded(user, "send_everywhere", "environment", "sweep")["results"]

    assert results["send_everywhere"]["detail"] == []
    assert set(results["environment"]["detail"]["python"]) <= {"LC_CTYPE"}
    let_through = {_call_name(number) for number in results["sweep"]["detail"]}
    assert let_through <= {"gettid", "membarrier", "pkey_mprotect", "sched_yield"}


def _call_name(number: str) -> str:
    """Return the name of a system call that the sweep found."""
    return {call: name for name, call in syscall_numbers().items()}[int(number)]


# -- the processes that work before there is a guest


def _admission(directory: Path, *, hostile_validator: bool = False) -> Admission:
    return Admission(
        validator=HostileValidator() if hostile_validator else WasmtimeValidator(),
        runtime=HostileRuntime(),
        cache=Cache(directory, bytes(32), 0),
        limits=AdmissionLimits(),
    )


def _not_denied(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    assert set(results) == set(EARLY)
    return {name: said for name, said in results.items() if said["errno"] not in ("EPERM", "absent")}


def test_a_validator_that_is_taken_over_is_denied(tmp_path: Path) -> None:
    module = starting("")

    with pytest.raises(BadModuleError) as info:
        _admission(tmp_path, hostile_validator=True).admit(module, LIMITS)

    assert _not_denied(json.loads(str(info.value).partition(": ")[2])) == {}


def test_a_compiler_that_is_taken_over_is_denied(tmp_path: Path) -> None:
    module = starting("")

    with _admission(tmp_path).admit(module, LIMITS) as program:
        assert _not_denied(json.loads(read_all(program.artefact_fd))) == {}


def test_a_zygote_that_is_taken_over_is_denied() -> None:
    with (
        closing(Executor(SandboxConfig())) as executor,
        program_of(HostileRuntime(), artefact=ATTEMPT_WHILE_LOADING) as program,
    ):
        _, said = ask(executor, program, "loading")

    assert _not_denied(said["detail"]) == {}


# -- some layers

FILES = (
    "open_passwd",
    "open_own_maps",
    "open_own_memory",
    "open_standard_library",
    "open_cmdline_of_daemon",
    "open_through_a_directory",
    "openat2",
    "create_in_tmp",
    "list_root",
    "list_processes",
    "list_own_descriptors",
    "make_directory",
    "make_symbolic_link",
    "make_named_pipe",
    "run_a_program",
    "run_a_program_by_descriptor",
)
PROCESSES = tuple(name for name in ATTEMPTS if "fork" in name or "clone" in name)
OTHERS = (
    "ptrace_daemon",
    "ptrace_sibling",
    "process_vm_readv_daemon",
    "process_vm_writev_daemon",
    "process_vm_readv_sibling",
    "process_vm_writev_sibling",
    "mount",
    "mount_in_an_own_namespace",
    "pivot_root",
    "chroot",
    "unshare_network",
    "setgroups",
    "raise_limit_of_processes",
    "raise_limit_of_file_size",
    "raise_limit_of_core",
)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("user", USERS)
def test_without_seccomp_files_are_still_denied(user: str, name: str) -> None:
    needs("landlock", user)

    assert _errno(user, name, *_without("seccomp")) == "EACCES"


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("user", USERS)
def test_without_seccomp_processes_are_still_denied(user: str, name: str) -> None:
    allowed = {"EAGAIN"}  # more than RLIMIT_NPROC
    if "namespace" in name:
        allowed.add("EPERM")

    assert _errno(user, name, *_without("seccomp")) in allowed


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("user", USERS)
def test_without_seccomp_other_processes_and_privileges_are_still_denied(user: str, name: str) -> None:
    needs("landlock", user)

    assert _errno(user, name, *_without("seccomp")) == "EPERM"


@pytest.mark.parametrize("user", USERS)
def test_without_seccomp_the_network_is_still_out_of_reach(user: str) -> None:
    needs("landlock", user)

    errno = _errno(user, "connect_tcp", *_without("seccomp"))

    assert errno in ("EACCES", "ENETUNREACH")  # by Landlock, or by the namespace


@pytest.mark.parametrize("user", USERS)
def test_seccomp_alone_denies_everything(user: str) -> None:
    report = reported(user, *_without("namespaces", "landlock", "unprivileged_uid", "rlimits"))

    denied = {name for name, said in report["results"].items() if said["errno"] in ("EPERM", "absent")}
    assert denied == set(ATTEMPTS)
    assert {"namespaces", "landlock"} <= set(report["missing"])


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("layer", ["namespaces", "landlock"])
def test_without_a_layer_the_others_hold(user: str, layer: str) -> None:
    """An ordinary user may be denied namespaces, and an old kernel has no Landlock."""
    report = reported(user, *_without(layer))

    assert report["missing"][layer] == TAKEN_AWAY
    denied = {name for name, said in report["results"].items() if said["errno"] in ("EPERM", "absent")}
    assert denied == set(ATTEMPTS)


def _alone(layer: str) -> list[str]:
    return _without(*(other for other in ALL_LAYERS_OF_A_ZYGOTE if other != layer))


def _errno_with(name: str, layer: str | None) -> str | None:
    """Return how an attempt ends as root under one layer, or under none."""
    options = _alone(layer) if layer else _without(*ALL_LAYERS_OF_A_ZYGOTE)
    return _errno("root", name, *options, *SINGLE)


SINGLE = ("open_passwd", "open_shadow", "connect_tcp", "kill_daemon", "fork")


@pytest.mark.parametrize("name", [name for name in SINGLE if name != "open_shadow"])
def test_without_any_layer_an_attempt_succeeds(name: str) -> None:
    """So that it is the layers that deny it."""
    assert _errno_with(name, None) is None


def test_landlock_alone_denies_files() -> None:
    needs("landlock")

    assert _errno_with("open_passwd", "landlock") == "EACCES"


def test_landlock_alone_denies_tcp() -> None:
    needs("landlock")

    assert _errno_with("connect_tcp", "landlock") == "EACCES"


def test_namespaces_alone_deny_the_network() -> None:
    needs("namespaces")

    assert _errno_with("connect_tcp", "namespaces") == "ENETUNREACH"


def test_an_unprivileged_user_alone_denies_what_is_others() -> None:
    assert _errno_with("open_shadow", "unprivileged_uid") == "EACCES"
    assert _errno_with("kill_daemon", "unprivileged_uid") == "EPERM"


def test_limits_deny_processes_to_an_unprivileged_user() -> None:
    options = _without("namespaces", "landlock", "seccomp")

    assert _errno("root", "fork", *options, *SINGLE) == "EAGAIN"


# -- required layers


@pytest.fixture
def no_seccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {"filter": None, "filter_missing": TAKEN_AWAY}
    monkeypatch.setattr(seccomp_filters, "loading", lambda: none)
    monkeypatch.setattr(seccomp_filters, "running", lambda: none)


@contextmanager
def _executor(*required: str) -> Iterator[Executor]:
    with closing(Executor(SandboxConfig(require=required))) as executor:
        yield executor


@pytest.mark.usefixtures("no_seccomp")
def test_a_job_runs_without_a_layer_that_nobody_requires() -> None:
    with _executor() as executor, program_of(HostileRuntime()) as program:
        outcome, _ = ask(executor, program, "process")

        assert outcome.ok
        assert executor.missing["seccomp"] == TAKEN_AWAY


@pytest.mark.usefixtures("no_seccomp")
def test_no_job_runs_without_seccomp_if_it_is_required() -> None:
    with _executor("seccomp") as executor, program_of(HostileRuntime()) as program:
        with pytest.raises(SandboxError) as info:
            ask(executor, program, "process")

        assert str(info.value) == f"required sandbox layers are missing: seccomp ({TAKEN_AWAY})"


@pytest.mark.parametrize("layer", ["landlock", "namespaces"])
def test_no_job_runs_without_a_layer_that_its_zygote_found_missing(layer: str) -> None:
    runtime = HostileRuntime(without=(layer,))
    with _executor(layer) as executor, program_of(runtime) as program:
        with pytest.raises(SandboxError) as info:
            ask(executor, program, "process")

        assert str(info.value) == f"required sandbox layers are missing: {layer} ({TAKEN_AWAY})"
        assert processes.wait_until(lambda: not processes.zygotes(os.getpid()))


# -- seen from outside
