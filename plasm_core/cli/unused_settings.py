"""Refuse a setting that a command was given and does not use: it would change nothing, and say nothing.

Settings of files and of the environment are for all programs of a machine, so that a command may find any there.
"""

from __future__ import annotations

from collections.abc import Sequence

from plasm_core.errors import ConfigError

OF_DAEMON = (
    *("queue", "clients", "storage", "gateway", "limits", "daemon"),
    *("policy.lend", "policy.allow", "plasm.transport"),
)
"""What only a daemon uses: sections, and keys of sections that others use, too."""
OF_WEB = tuple(key for key in OF_DAEMON if key not in ("limits", "daemon"))
"""The same for `plasm web`, which has a log and bounds of uploads of its own."""
OF_RUNS = (
    *("admission", "sandbox", "runtime", "validator", "signer", "policy.grants"),
    *("plasm.runtime", "plasm.first_run", "plasm.validator", "plasm.signer"),
)
"""What is used where a job runs, and by the verifiers that run it again."""
OF_RESULTS = ("verifier", "plasm.verifier", "plasm.require", "plasm.known", "plasm.reuse")
"""What is used where a result is verified."""
BY_SENDERS = (*OF_DAEMON, *OF_RUNS, *OF_RESULTS)
"""What a command does not use that asks a node, and neither runs a job nor verifies a result."""


def refuse_unused(settings: Sequence[str], unused: Sequence[str], *, command: str) -> None:
    """Refuse the settings `KEY=VALUE` that a command does not use. `unused`: sections and keys.

    Raises: `ConfigError`, which says where the setting takes effect.
    """
    for setting in settings:
        key = setting.partition("=")[0].strip()
        if _is_among(key, unused):
            raise ConfigError(f"--set {key}: {command} does not use this setting", hint=_hint(key))


def _is_among(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _hint(key: str) -> str:
    if _is_among(key, OF_RESULTS):
        return "it takes effect where a result is verified, as in plasm result and plasm run"
    daemon = "the daemon's own configuration, or plasmd --set"
    if _is_among(key, OF_RUNS):
        return (
            f"it takes effect where the job runs: in {daemon}; plasm run takes it for a run on this machine"
        )
    if not _is_among(key, OF_WEB):
        return f"it takes effect in {daemon}, and in plasm web"
    return f"it takes effect in {daemon}"
