"""The hint of a refusal that a setting of the node causes."""

from __future__ import annotations

import shlex


def setting_hint(key: str, value: object) -> str:
    """Return how to change a setting, for the user of `plasm run` and for the client of a daemon alike.

    A client's `--set` does not reach the daemon. `value`: as `--set` takes it.
    """
    setting = shlex.quote(f"{key}={value}")
    return f"a daemon needs {key} in its own configuration; a run on this machine takes --set {setting}"
