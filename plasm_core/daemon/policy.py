"""What this node takes, from whom."""

from __future__ import annotations

from plasm_core.abc import Runtime
from plasm_core.config import Config
from plasm_core.errors import ConfigError, RefusedError
from plasm_core.node import check_policy
from plasm_core.records import Manifest, PeerId
from plasm_core.sandbox.executor import MAX_ARGUMENT_BYTES
from plasm_core.wire.messages import Submit


def check_submission(
    manifest: Manifest, submit: Submit, config: Config, *, stranger: PeerId | None, hands_on: bool
) -> None:
    """Refuse a job that this node does not take, whatever else it has to do.

    `stranger` is the client, if it is of another machine; `hands_on` says whether jobs are handed on to the
    network. Raises: `RefusedError`.
    """
    if stranger is not None:
        _check_stranger(stranger, config)
    if submit.route == "network":
        if stranger is not None or not hands_on:
            raise RefusedError(
                "no_gateway",
                "this node hands no jobs on to the network",
                hint="its operator allows it with gateway.enabled=true",
            )
    else:
        check_policy(manifest, config)
        _check_limits(manifest, config)
    _check_sizes(submit, config)


def _check_stranger(peer: PeerId, config: Config) -> None:
    policy = config.policy
    if not policy.lend:
        raise RefusedError("policy", "this node runs its own users' jobs only")
    if str(peer) in policy.deny or (policy.allow and str(peer) not in policy.allow):
        raise RefusedError("policy", "this node does not run this client's jobs")


def _check_limits(manifest: Manifest, config: Config) -> None:
    limits = config.limits
    for what, asked, allowed in (
        ("gas", manifest.limits.gas, limits.gas),
        ("output_bytes", manifest.limits.output_bytes, limits.output_bytes),
        ("wall_time_s", manifest.wall_time_s, limits.wall_time_s),
    ):
        if asked > allowed:
            raise RefusedError("limit_too_high", f"{what} {asked} is more than the {allowed} allowed here")


def _check_sizes(submit: Submit, config: Config) -> None:
    sizes = submit.sizes
    for what, size, allowed in (
        ("module", sizes.module, config.admission.module_bytes),
        ("stdin", sizes.stdin, config.limits.stdin_bytes),
        ("args and env", sizes.args + sizes.env, 2 * MAX_ARGUMENT_BYTES),
    ):
        if size > allowed:
            raise RefusedError(
                "input_too_large", f"{what}: {size} bytes, more than the {allowed} allowed here"
            )


def check_lending(config: Config, runtime: Runtime) -> None:
    """Refuse to lend on a runtime whose workers lack a layer, unless its configuration allows it.

    Raises: `ConfigError`.
    """
    if config.policy.lend and not runtime.serves_strangers():
        raise ConfigError(
            f"policy.lend is set, and the runtime {runtime.name} does not run strangers' jobs",
            hint=runtime.strangers_hint,
        )
