"""The configuration: flags beat environment beats drop-ins beat the file beats defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from plasm_core.config_environment import put, scalar, settings_of
from plasm_core.config_files import read_files
from plasm_core.config_origins import Origins, meant, under
from plasm_core.errors import ConfigError, InvalidRecordError
from plasm_core.interpreter import Interpreter, read_interpreters
from plasm_core.plugins.interfaces import KINDS
from plasm_core.records.cid import parse_peer
from plasm_core.records.converter import structure
from plasm_core.records.fields import (
    boolean,
    constrained,
    integer,
    names,
    names_of,
    one_of,
    text,
)
from plasm_core.records.manifest import CAPABILITIES
from plasm_core.records.peer import peer_names

_NAME = r"[a-z0-9]+"
NO_FIRST_RUN = "none"
"""The value of `plasm.first_run` for which every run is on the configured runtime."""


@attrs.frozen(kw_only=True)
class PluginSelection:
    """The selected plugins, and the facts that verification must establish.

    `require`: signature, known, reexecution, quorum or audit; `known`: the PeerIds of nodes that the user knows, in
    addition to those named for a job. `first_run`: the runtime for a large module of one's own that `runtime` has not
    compiled yet; `winch`, or one that is not installed: wasmtime with its quick compiler; `none`: always `runtime`. `reuse`: take the verified result that an equal task had before (docs/batches.md).
    """

    runtime: str = constrained(text(pattern=_NAME, maximum=64), default="wasmtime")
    first_run: str = constrained(text(pattern=_NAME, maximum=64), default="v8")
    validator: str = constrained(text(pattern=_NAME, maximum=64), default="wasmtime")
    signer: str = constrained(text(pattern=_NAME, maximum=64), default="ed25519")
    verifier: tuple[str, ...] = constrained(names(_NAME), default=("signature",))
    transport: tuple[str, ...] = constrained(names(_NAME), default=("local",))
    discovery: tuple[str, ...] = constrained(names(_NAME), default=())
    require: str = constrained(
        one_of("signature", "known", "reexecution", "quorum", "audit"), default="signature"
    )
    known: tuple[str, ...] = constrained(peer_names(), default=())
    reuse: bool = constrained(boolean(), default=False)


@attrs.frozen(kw_only=True)
class AdmissionLimits:
    """Limits on validating, metering and compiling a module."""

    module_bytes: int = constrained(integer(8), default=128 << 20)
    cpu_s: int = constrained(integer(1, 86_400), default=120)
    memory_bytes: int = constrained(integer(64 << 20), default=2 << 30)
    cache_bytes: int = constrained(integer(0), default=2 << 30)


SANDBOX_LAYERS = ("rlimits", "no_new_privs", "unprivileged_uid", "namespaces", "landlock", "seccomp")
"""The layers around a worker process, in the order of `plasm doctor`."""


@attrs.frozen(kw_only=True)
class SandboxConfig:
    """The isolation of jobs. `require`: sandbox layers; if one is missing, no job runs.

    `ahead`: the number of workers that each zygote in use forks before a job arrives.
    """

    isolation: str = constrained(one_of("process", "shared"), default="process")
    require: tuple[str, ...] = constrained(names_of(*SANDBOX_LAYERS), default=())
    zygotes: int = constrained(integer(1, 1024), default=8)
    zygote_memory_bytes: int = constrained(integer(64 << 20), default=2 << 30)
    ahead: int = constrained(integer(1, 64), default=8)
    jobs_per_zygote: int = constrained(integer(1), default=10_000)
    jobs_per_shared_worker: int = constrained(integer(1), default=1_000)


@attrs.frozen(kw_only=True)
class Policy:
    """The clients whose jobs this node runs, and the grants that it permits.

    `lend`: run strangers' jobs too. `allow`: if set, run only the jobs of strangers with these PeerIds; `deny`:
    exchange no jobs with these PeerIds, in either direction; `convicted`: the same, written by `plasm deny --proof`.
    `grants`: the grants that a job may ask for.
    """

    lend: bool = constrained(boolean(), default=False)
    allow: tuple[str, ...] = constrained(peer_names(), default=())
    deny: tuple[str, ...] = constrained(peer_names(), default=())
    convicted: tuple[str, ...] = constrained(peer_names(), default=())
    grants: tuple[str, ...] = constrained(names_of(*CAPABILITIES), default=())

    @property
    def denied(self) -> frozenset[str]:
        """The PeerIds of `deny` and `convicted`."""
        return frozenset((*self.deny, *self.convicted))


@attrs.frozen(kw_only=True)
class StorageLimits:
    """Limits on the daemon's disk space, and retention times.

    `job_bytes`: inputs and outputs of all jobs; `module_bytes`: all modules; `tree_bytes`: the input files of all jobs
    with files, equal trees once; `output_reserve_bytes`: the part of
    `job_bytes` reserved for the outputs of each live job, unless its own limit is less; `spare_bytes`: reserved disk
    space for writing results when the disk is full; `keep_s`: from a job's end until its outputs and receipt are
    deleted; `tombstone_s`: from then until the job itself is deleted.
    """

    job_bytes: int = constrained(integer(0), default=16 << 30)
    module_bytes: int = constrained(integer(0), default=4 << 30)
    tree_bytes: int = constrained(integer(0), default=16 << 30)
    output_reserve_bytes: int = constrained(integer(0), default=1 << 20)
    spare_bytes: int = constrained(integer(0), default=16 << 20)
    keep_s: int = constrained(integer(0, 10 * 366 * 86_400), default=7 * 86_400)
    tombstone_s: int = constrained(integer(0, 10 * 366 * 86_400), default=30 * 86_400)


@attrs.frozen(kw_only=True)
class JobLimits:
    """The greatest limits that a manifest may ask for, and the greatest sizes of its stdin and of its input files.

    `cpu` and `memory_bytes` also bound all running jobs and idle worker processes together. 0 means the resources of
    the machine, or of the container's control group: all processors, and three quarters of the memory, or less if
    the daemon itself would have under 128 MiB.
    """

    gas: int = constrained(integer(1), default=10**15)
    output_bytes: int = constrained(integer(0), default=1 << 30)
    stdin_bytes: int = constrained(integer(0), default=256 << 20)
    tree_bytes: int = constrained(integer(0), default=4 << 30)
    wall_time_s: int = constrained(integer(1, 86_400), default=3600)
    cpu: int = constrained(integer(0, 1024), default=0)
    memory_bytes: int = constrained(integer(0), default=0)


@attrs.frozen(kw_only=True)
class QueueLimits:
    """Limits on waiting jobs and on uploads.

    `jobs`: accepted jobs that wait; `offers`: uploading jobs; both also for each client. An eighth of both is
    reserved for the node's own users. `offer_s`: the longest pause of an upload; `upload_s`: the longest upload;
    `upload_bytes_per_s`: the least average rate, from twice `offer_s` after the start of the upload, 0 for none.
    `wait_s`: the longest time from acceptance to start; `total_s`: the longest time from acceptance to end.
    """

    jobs: int = constrained(integer(1, 1_000_000), default=10_000)
    jobs_per_client: int = constrained(integer(1, 1_000_000), default=5_000)
    offers: int = constrained(integer(1, 100_000), default=256)
    offers_per_client: int = constrained(integer(1, 100_000), default=128)
    offer_s: int = constrained(integer(1, 3600), default=60)
    upload_s: int = constrained(integer(1, 86_400), default=3600)
    upload_bytes_per_s: int = constrained(integer(0), default=1024)
    wait_s: int = constrained(integer(1), default=86_400)
    total_s: int = constrained(integer(1), default=2 * 86_400)


@attrs.frozen(kw_only=True)
class ClientLimits:
    """Quotas of each client of the network, counted by its PeerId and by the /24 or /48 of its address.

    `running`: jobs that run at once; further jobs wait. `cpu_s_per_hour`: processor time of its jobs and of
    validating and compiling its modules. `upload_bytes_per_hour`: the bytes that it offers to upload. The last two
    refill evenly and survive a restart; when one is used up, new jobs are refused. 0: no limit.
    """

    running: int = constrained(integer(0, 100_000), default=64)
    cpu_s_per_hour: int = constrained(integer(0), default=14_400)
    upload_bytes_per_hour: int = constrained(integer(0), default=8 << 30)


@attrs.frozen(kw_only=True)
class GatewayConfig:
    """The gateway: whether the daemon submits local clients' jobs to other nodes, by which transport, how many at once."""

    enabled: bool = constrained(boolean(), default=False)
    transport: str = constrained(text(pattern=_NAME, maximum=64), default="libp2p")
    jobs: int = constrained(integer(1, 10_000), default=64)


@attrs.frozen(kw_only=True)
class DaemonConfig:
    """Settings of the daemon process. `shutdown_s`: the time that running jobs get to end when the daemon stops."""

    log_level: str = constrained(one_of("debug", "info", "warning", "error"), default="info")
    log_format: str = constrained(one_of("text", "json"), default="text")
    shutdown_s: int = constrained(integer(0, 86_400), default=20)


@attrs.frozen(kw_only=True)
class Config:
    """The whole configuration. `components`: the plugins' own tables, by kind and name; `interpreters`: by extension."""

    plasm: PluginSelection = PluginSelection()
    admission: AdmissionLimits = AdmissionLimits()
    sandbox: SandboxConfig = SandboxConfig()
    policy: Policy = Policy()
    storage: StorageLimits = StorageLimits()
    limits: JobLimits = JobLimits()
    queue: QueueLimits = QueueLimits()
    clients: ClientLimits = ClientLimits()
    daemon: DaemonConfig = DaemonConfig()
    gateway: GatewayConfig = GatewayConfig()
    components: Mapping[str, Mapping[str, Mapping[str, Any]]] = attrs.field(factory=dict)
    interpreters: Mapping[str, Interpreter] = attrs.field(factory=dict)
    origins: Origins = attrs.field(factory=Origins, eq=False, repr=False)

    def located(self, error: ConfigError) -> ConfigError:
        """Return an error of a plugin's table, or of its choice, with the file and line of each key that it names."""
        if not error.problems:
            return error
        return ConfigError("; ".join(self.origins.located(error.problems)), hint=error.hint)

    def table(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return a plugin's configuration table, empty if there is none."""
        return self.components.get(kind, {}).get(name, {})


def keep(fresh: Config, old: Config, sections: Sequence[str]) -> Config:
    """Return a new configuration in which some sections have the values of an old one."""
    return attrs.evolve(fresh, **{name: getattr(old, name) for name in sections})


def with_table(config: Config, kind: str, name: str, table: Mapping[str, Any]) -> Config:
    """Return a configuration with changed values in a plugin's table."""
    tables = dict(config.components.get(kind, {}))
    tables[name] = {**tables.get(name, {}), **table}
    return attrs.evolve(config, components={**config.components, kind: tables})


LISTS = ("verifier", "transport", "discovery", "known")
"""The choices of several plugins."""
_SECTIONS = {
    "plasm": PluginSelection,
    "admission": AdmissionLimits,
    "sandbox": SandboxConfig,
    "policy": Policy,
    "storage": StorageLimits,
    "limits": JobLimits,
    "queue": QueueLimits,
    "clients": ClientLimits,
    "daemon": DaemonConfig,
    "gateway": GatewayConfig,
}


def load(
    *,
    file: Path | None = None,
    settings: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Load the configuration from files, environment and flags.

    `settings`: `key.path=value`, as given to `--set`. `overrides`: such paths with values, as given by flags.

    Raises: `ConfigError`, naming the file or variable and each wrong key.
    """
    environ = os.environ if environ is None else environ
    origins = Origins()
    tree = read_files(file, environ, origins)
    for variable, path, value in settings_of(
        environ,
        choices={attribute.name for attribute in attrs.fields(PluginSelection)},
        sections={*_SECTIONS, *KINDS},
    ):
        put(tree, path, value)
        origins.name(path, variable)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f'--set {setting}: expected key=value, as in "admission.cpu_s=30"')
        path = key.strip().split(".")
        put(tree, path, scalar(value))
        origins.name(path, "--set")
    for key, value in (overrides or {}).items():
        put(tree, key.split("."), value)
        origins.name(key.split("."), f"--{key.rpartition('.')[2]}")
    return _config(tree, origins)


def _peer(item: Any) -> Any:
    """Return a PeerId in its usual form; a text that is no PeerId is returned unchanged."""
    try:
        return str(parse_peer(item)) if isinstance(item, str) else item
    except ValueError:
        return item


def _config(tree: dict[str, Any], origins: Origins) -> Config:
    known = {*_SECTIONS, *KINDS, "interpreters"}
    problems = [(name, f"unknown section{meant(name, known)}") for name in sorted(set(tree) - known)]
    choice = tree.get("plasm")
    if isinstance(choice, dict):
        for name in LISTS:
            if isinstance(choice.get(name), str):
                choice[name] = [item.strip() for item in choice[name].split(",") if item.strip()]
    policy = tree.get("policy")
    if isinstance(policy, dict):
        if policy.pop("capabilities", None) is not None:
            problems.append(("policy.capabilities", "is called policy.grants now"))
        for name in ("allow", "deny", "convicted"):
            if isinstance(policy.get(name), list):
                policy[name] = [_peer(item) for item in policy[name]]
    components: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in KINDS:
        tables = tree.get(kind, {})
        if not isinstance(tables, dict) or not all(isinstance(item, dict) for item in tables.values()):
            problems.append((kind, f"expected a table for each {kind}, as in [{kind}.name]"))
        else:
            components[kind] = tables
    sections: dict[str, Any] = {}
    for name, cls in _SECTIONS.items():
        try:
            sections[name] = structure(tree.get(name, {}), cls, record=name)
        except InvalidRecordError as exc:
            problems += under(name, exc.problems, [item.name for item in attrs.fields(cls)])
    interpreters, wrong = read_interpreters(tree.get("interpreters", {}))
    problems += wrong
    if problems:
        raise ConfigError("; ".join(origins.located(problems)))
    return Config(components=components, interpreters=interpreters, origins=origins, **sections)
