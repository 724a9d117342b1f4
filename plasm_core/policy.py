"""The node's policy: which jobs it accepts, and from which clients."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from plasm_core.config import Config
from plasm_core.errors import ConfigError, RefusedError
from plasm_core.plugins.interfaces import Runtime
from plasm_core.protocol.channels import Channel
from plasm_core.quantities import bytes_text, gas_text, seconds_text
from plasm_core.records import Manifest, PeerId
from plasm_core.records.manifest import MAX_ARGUMENT_BYTES
from plasm_core.setting_hint import setting_hint

if TYPE_CHECKING:
    from plasm_core.protocol.messages import Submit

MAX_PATHS_BYTES = 16_384
"""How many bytes the paths that a manifest names may have together."""


def check_submission(
    manifest: Manifest, submit: Submit, config: Config, *, stranger: PeerId | None, hands_on: bool
) -> None:
    """Refuse a job that this node does not accept under any load.

    `stranger`: the client, if it is on another machine. `hands_on`: whether this node submits jobs to the network.
    Raises: `RefusedError`.
    """
    if (manifest.files is None) != (submit.sizes.files is None):
        raise RefusedError("invalid_manifest", "sizes.files goes with a manifest that has files")
    _check_paths(manifest)
    if stranger is not None:
        _check_stranger(stranger, config)
    if submit.route == "network":
        if stranger is not None or not hands_on:
            raise RefusedError(
                "no_gateway",
                "this node forwards no jobs to the network",
                hint="its operator allows it with: plasmd --gateway, or gateway.enabled=true",
            )
    else:
        check_policy(manifest, config)
        _check_limits(manifest, config)
    _check_sizes(submit, config)


def _check_paths(manifest: Manifest) -> None:
    """Refuse a job whose paths, each of which the receipt names up to twice, could make the receipt too large to
    send.
    """
    if manifest.files is not None:
        size = sum(len(path.encode()) for path in (*manifest.files.outputs, *manifest.files.read_only))
        if size > MAX_PATHS_BYTES:
            raise RefusedError(
                "bad_files",
                f"the paths of outputs and of read-only files have {size} bytes together, more than {MAX_PATHS_BYTES}",
            )


def _check_stranger(peer: PeerId, config: Config) -> None:
    policy = config.policy
    if not policy.lend:
        raise RefusedError("policy", "this node runs its own users' jobs only")
    if str(peer) in policy.denied or (policy.allow and str(peer) not in policy.allow):
        raise RefusedError("policy", "this node does not run this client's jobs")


def _check_limits(manifest: Manifest, config: Config) -> None:
    limits = config.limits
    for what, asked, allowed in (
        ("gas", manifest.limits.gas, limits.gas),
        ("output", manifest.limits.output_bytes, limits.output_bytes),
        ("wall", manifest.wall_time_s, limits.wall_time_s),
    ):
        if asked > allowed:
            written = _WRITTEN[what]
            raise RefusedError(
                "limit_too_high",
                f"the limit {what}={written(asked)} is more than the {written(allowed)} allowed here",
                hint=f"--limit {what}={written(allowed)} is the most",
            )


_WRITTEN: Mapping[str, Callable[[int], str]] = {
    "gas": gas_text,
    "output": bytes_text,
    "wall": seconds_text,
}


def _check_sizes(submit: Submit, config: Config) -> None:
    sizes = submit.sizes
    for what, size, allowed, setting in (
        ("module", sizes.module, config.admission.module_bytes, "admission.module_bytes"),
        ("stdin", sizes.stdin, config.limits.stdin_bytes, "limits.stdin_bytes"),
        ("files", sizes.of(Channel.FILES), config.limits.tree_bytes, "limits.tree_bytes"),
        ("args and env", sizes.args + sizes.env, 2 * MAX_ARGUMENT_BYTES, None),
    ):
        if size > allowed:
            raise RefusedError(
                "input_too_large",
                f"{what}: {size} bytes, more than the {allowed} allowed here",
                hint=setting and f"the setting of the node is {setting}",
            )


def check_lending(config: Config, runtime: Runtime) -> None:
    """Refuse to lend a runtime whose workers lack a sandbox layer, unless the configuration permits it.

    Raises: `ConfigError`.
    """
    if config.policy.lend and not runtime.serves_strangers():
        raise ConfigError(
            f"policy.lend is set, and the runtime {runtime.name} does not run strangers' jobs",
            hint=runtime.strangers_hint,
        )


def check_policy(manifest: Manifest, config: Config) -> None:
    """Refuse a manifest that asks for a grant that the policy does not give. Raises: `RefusedError`."""
    denied = sorted(set(manifest.capabilities) - set(config.policy.grants))
    if denied:
        raise RefusedError(
            "capability_denied",
            f"this node does not grant {', '.join(denied)}",
            hint=setting_hint("policy.grants", json.dumps(list(manifest.capabilities))),
        )
