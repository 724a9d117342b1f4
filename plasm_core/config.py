"""The configuration: flags beat environment beats file beats default."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from plasm_core import paths
from plasm_core.abc import KINDS
from plasm_core.errors import ConfigError, InvalidRecordError
from plasm_core.input_file import read_input
from plasm_core.records.cid import parse_peer
from plasm_core.records.converter import structure
from plasm_core.records.fields import boolean, constrained, integer, names, names_of, one_of, text
from plasm_core.records.manifest import CAPABILITIES
from plasm_core.records.peer import peer_names

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

_NAME = r"[a-z0-9]+"
_OTHER_VARIABLES = frozenset({"PLASM_CONFIG", "PLASM_SOCKET"})
_SERVICE = re.compile(
    r"PLASM(_[A-Z0-9_]+)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_[A-Z]+(_[A-Z]+)?)"
)
_SERVICE_PORT = re.compile(r"PLASM(_[A-Z0-9_]+)?_PORT")
_MAX_FILE_BYTES = 1 << 20


@attrs.frozen(kw_only=True)
class Choice:
    """Which plugins do the work, and what a client wants established of a result.

    `require`: signature, known, reexecution, quorum or audit; `known`: PeerIds of nodes that the user knows, beside
    those that are named for a job.
    """

    runtime: str = constrained(text(pattern=_NAME, maximum=64), default="wasmtime")
    validator: str = constrained(text(pattern=_NAME, maximum=64), default="wasmtime")
    signer: str = constrained(text(pattern=_NAME, maximum=64), default="ed25519")
    verifier: tuple[str, ...] = constrained(names(_NAME), default=("signature",))
    transport: tuple[str, ...] = constrained(names(_NAME), default=("local",))
    discovery: tuple[str, ...] = constrained(names(_NAME), default=())
    require: str = constrained(
        one_of("signature", "known", "reexecution", "quorum", "audit"), default="signature"
    )
    known: tuple[str, ...] = constrained(peer_names(), default=())


@attrs.frozen(kw_only=True)
class AdmissionLimits:
    """What preparing and compiling a module may take."""

    module_bytes: int = constrained(integer(8), default=64 << 20)
    cpu_s: int = constrained(integer(1, 86_400), default=120)
    memory_bytes: int = constrained(integer(64 << 20), default=2 << 30)
    cache_bytes: int = constrained(integer(0), default=2 << 30)


SANDBOX_LAYERS = ("rlimits", "no_new_privs", "unprivileged_uid", "namespaces", "landlock", "seccomp")
"""The layers around a worker process, in the order of `plasm doctor`."""


@attrs.frozen(kw_only=True)
class SandboxConfig:
    """How jobs are kept apart. `require`: layers without which no job is run.

    `ahead`: workers forked before there is a job for them, for each zygote in use.
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
    """Whose jobs run on this node, and what they may ask for.

    `lend`: strangers' jobs too, not only local ones. `allow`: the PeerIds of the only strangers whose jobs are
    taken, if there are any; `deny`: of those whose jobs never are.
    """

    lend: bool = constrained(boolean(), default=False)
    allow: tuple[str, ...] = constrained(peer_names(), default=())
    deny: tuple[str, ...] = constrained(peer_names(), default=())
    capabilities: tuple[str, ...] = constrained(names_of(*CAPABILITIES), default=())


@attrs.frozen(kw_only=True)
class StorageLimits:
    """How much a daemon keeps, and how long.

    `job_bytes`: inputs and outputs of all jobs; `module_bytes`: all modules; `output_reserve_bytes`: what of
    the first is set aside for the outputs of each live job, unless its own limit is less; `spare_bytes`: disk
    space held back, so that results can be written although the disk is full; `keep_s`: from a job's end until
    its outputs and receipt are deleted; `tombstone_s`: from then until the job is forgotten.
    """

    job_bytes: int = constrained(integer(0), default=16 << 30)
    module_bytes: int = constrained(integer(0), default=4 << 30)
    output_reserve_bytes: int = constrained(integer(0), default=1 << 20)
    spare_bytes: int = constrained(integer(0), default=16 << 20)
    keep_s: int = constrained(integer(0, 10 * 366 * 86_400), default=7 * 86_400)
    tombstone_s: int = constrained(integer(0, 10 * 366 * 86_400), default=30 * 86_400)


@attrs.frozen(kw_only=True)
class JobLimits:
    """What a daemon lets a job ask for: the greatest limits of a manifest, and the bytes of its stdin.

    `cpu` and `memory_bytes` are also what all running jobs together may have, and with them the processes that wait
    for the next ones; 0 stands for what the machine has, or the control group that a container sets: all processors,
    and three quarters of the memory, less where the daemon itself would have under 128 MiB.
    """

    gas: int = constrained(integer(1), default=10**15)
    output_bytes: int = constrained(integer(0), default=1 << 30)
    stdin_bytes: int = constrained(integer(0), default=256 << 20)
    wall_time_s: int = constrained(integer(1, 86_400), default=3600)
    cpu: int = constrained(integer(0, 1024), default=0)
    memory_bytes: int = constrained(integer(0), default=0)


@attrs.frozen(kw_only=True)
class QueueLimits:
    """How much waits at a daemon, and how long.

    `jobs` are those accepted that wait, `offers` those that are being uploaded, both also for each client. The
    eighth part of both is for the node's own users. `offer_s`: how long an upload may rest; `upload_s`: how long it
    may take; `upload_bytes_per_s`: how fast it must come on average, from twice `offer_s` after its
    beginning, 0 for however slowly. `wait_s`: how long a job may wait before it is started; `total_s`: from its acceptance to its end.
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
    """What each client of the network may take, counted for its PeerId and for the neighbourhood of its address.

    `running`: its jobs that run at once; others wait. `cpu_s_per_hour`: processor time of its jobs, and the time
    that checking and compiling its modules took. `upload_bytes_per_hour`: what it offers to upload. The last two
    grow back evenly, are forgotten when the daemon ends, and refuse new jobs once they are used up. 0: no limit.
    """

    running: int = constrained(integer(0, 100_000), default=64)
    cpu_s_per_hour: int = constrained(integer(0), default=14_400)
    upload_bytes_per_hour: int = constrained(integer(0), default=8 << 30)


@attrs.frozen(kw_only=True)
class GatewayConfig:
    """Whether a daemon hands local clients' jobs on to nodes of the network, over which transport, how many at once."""

    enabled: bool = constrained(boolean(), default=False)
    transport: str = constrained(text(pattern=_NAME, maximum=64), default="libp2p")
    jobs: int = constrained(integer(1, 10_000), default=64)


@attrs.frozen(kw_only=True)
class DaemonConfig:
    """How a daemon behaves. `shutdown_s`: how long it lets jobs run on before it ends."""

    log_level: str = constrained(one_of("debug", "info", "warning", "error"), default="info")
    log_format: str = constrained(one_of("text", "json"), default="text")
    shutdown_s: int = constrained(integer(0, 86_400), default=20)


@attrs.frozen(kw_only=True)
class Config:
    """The whole configuration. `components` holds the plugins' own tables, by kind and name."""

    plasm: Choice = Choice()
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

    def table(self, kind: str, name: str) -> Mapping[str, Any]:
        """Return a plugin's own table, empty if there is none."""
        return self.components.get(kind, {}).get(name, {})


def keep(fresh: Config, old: Config, sections: Sequence[str]) -> Config:
    """Return a configuration with some of its sections as they were."""
    return attrs.evolve(fresh, **{name: getattr(old, name) for name in sections})


def with_table(config: Config, kind: str, name: str, table: Mapping[str, Any]) -> Config:
    """Return a configuration with some values of a plugin's own table set."""
    tables = dict(config.components.get(kind, {}))
    tables[name] = {**tables.get(name, {}), **table}
    return attrs.evolve(config, components={**config.components, kind: tables})


LISTS = ("verifier", "transport", "discovery", "known")
"""The choices of several plugins."""
_SECTIONS = {
    "plasm": Choice,
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
    """Read the configuration.

    `settings` are `key.path=value` as of `--set`; `overrides` maps such paths to values, as of flags.

    Raises: `ConfigError`, naming the file or variable and each wrong key.
    """
    environ = os.environ if environ is None else environ
    tree = _read_file(file, environ)
    for path, value in _environment(environ):
        _put(tree, path, value)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f'--set {setting}: expected key=value, as in "admission.cpu_s=30"')
        _put(tree, key.strip().split("."), _scalar(value))
    for key, value in (overrides or {}).items():
        _put(tree, key.split("."), value)
    return _config(tree)


def _read_file(file: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    named = file or (Path(environ["PLASM_CONFIG"]) if "PLASM_CONFIG" in environ else None)
    path = named or paths.config_file()
    if path is None:
        return {}
    try:
        data = read_input(path, _MAX_FILE_BYTES)
    except FileNotFoundError:
        if named is None:
            return {}
        raise ConfigError(f"no configuration file at {path}") from None
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}") from exc
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path} is not TOML: {exc}") from exc


def _environment(environ: Mapping[str, str]) -> list[tuple[list[str], Any]]:
    """PLASM_RUNTIME names plasm.runtime, PLASM_ADMISSION__CPU_S names admission.cpu_s, and so on."""
    found: list[tuple[list[str], Any]] = []
    choices = {attribute.name for attribute in attrs.fields(Choice)}
    for variable in sorted(environ):
        if not variable.startswith("PLASM_") or _is_of_a_service(variable, environ[variable]):
            continue
        if variable.startswith("PLASM_TEST_"):  # of script/test
            continue
        if not environ[variable].strip():
            raise ConfigError(
                f"the environment variable {variable} is empty", hint="give it a value, or unset it"
            )
        if variable in _OTHER_VARIABLES:
            continue
        path = variable.removeprefix("PLASM_").lower().split("__")
        if len(path) == 1 and path[0] in choices:
            path = ["plasm", path[0]]
        if len(path) < 2:
            raise ConfigError(f"unknown environment variable {variable}")
        value: Any = environ[variable]
        found.append((path, value if path[0] == "plasm" else _scalar(value)))
    return found


def _is_of_a_service(variable: str, value: str) -> bool:
    """Return whether a variable is what Kubernetes tells pods of a service called plasm, or plasm-something.

    Its tables of settings have two underscores between their names, and these variables have none but of such
    a service: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    if (
        variable.removeprefix("PLASM_").partition("__")[0].lower() in {*_SECTIONS, *KINDS}
        and "__" in variable
    ):
        return False
    if _SERVICE.fullmatch(variable):
        return True
    return _SERVICE_PORT.fullmatch(variable) is not None and re.match(r"(tcp|udp|sctp)://", value) is not None


def _scalar(text: str) -> Any:
    """Read a value as TOML would, else as a string."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return found["value"] if len(found) == 1 else text  # a line end would bring in other keys


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    table = tree
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{'.'.join(path)}: {name} is no table")
    table[path[-1]] = value


def _peer(item: Any) -> Any:
    """Return a PeerId in its usual form, whichever it was written in; what is none as it was."""
    try:
        return str(parse_peer(item)) if isinstance(item, str) else item
    except ValueError:
        return item


def _config(tree: dict[str, Any]) -> Config:
    unknown = sorted(set(tree) - set(_SECTIONS) - set(KINDS))
    problems = [f"{name}: unknown section" for name in unknown]
    choice = tree.get("plasm")
    if isinstance(choice, dict):
        for name in LISTS:
            if isinstance(choice.get(name), str):
                choice[name] = [item.strip() for item in choice[name].split(",") if item.strip()]
    policy = tree.get("policy")
    if isinstance(policy, dict):
        for name in ("allow", "deny"):
            if isinstance(policy.get(name), list):
                policy[name] = [_peer(item) for item in policy[name]]
    components: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in KINDS:
        tables = tree.get(kind, {})
        if not isinstance(tables, dict) or not all(isinstance(item, dict) for item in tables.values()):
            problems.append(f"{kind}: expected a table for each {kind}, as in [{kind}.name]")
        else:
            components[kind] = tables
    sections: dict[str, Any] = {}
    for name, cls in _SECTIONS.items():
        try:
            sections[name] = structure(tree.get(name, {}), cls, record=name)
        except InvalidRecordError as exc:
            problems += [f"{name}.{path}: {why}" if path else f"{name}: {why}" for path, why in exc.problems]
    if problems:
        raise ConfigError("; ".join(problems))
    return Config(components=components, **sections)
