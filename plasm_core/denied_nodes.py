"""The drop-in of the configuration that lists the nodes convicted by fraud proofs: `plasm.d/convicted.toml`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from plasm_core import toml_text
from plasm_core.config_files import MAX_FILE_BYTES
from plasm_core.errors import ConfigError
from plasm_core.input_file import TooLargeError, read_input
from plasm_core.records.peer import PeerId

MAX_CONVICTED = 10_000
"""How many nodes the drop-in lists: a file of the configuration has at most 1 MiB."""
_NAME = "convicted.toml"
_HEAD = "# Nodes that fraud proofs convicted. `plasm deny --proof FILE` adds to it; delete a line to pardon a node.\n"


def drop_in_of(config_file: Path) -> Path:
    """Return the path of the drop-in for a configuration file. Raises: `ConfigError` if the file cannot have
    drop-ins.
    """
    if config_file.suffix != ".toml":
        raise ConfigError(f"{config_file} can have no drop-ins: its name does not end in .toml")
    return config_file.with_suffix(".d") / _NAME


def deny(nodes: Collection[PeerId], drop_in: Path) -> tuple[PeerId, ...]:
    """Add nodes to the drop-in, and return those that it did not list yet. Raises: `ConfigError`.

    The file is replaced whole, or left as it was. Other settings in it are refused, as they would be lost.
    """
    try:
        drop_in.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _alone(drop_in):
            listed = _listed(drop_in)
            added = tuple(peer for peer in dict.fromkeys(nodes) if str(peer) not in listed)
            if len(listed) + len(added) > MAX_CONVICTED:
                raise ConfigError(
                    f"{drop_in} would list more than {MAX_CONVICTED} nodes",
                    hint="delete the lines of nodes that are gone",
                )
            if added:
                _write(drop_in, [*listed, *map(str, added)])
            return added
    except OSError as exc:
        raise ConfigError(f"cannot write {drop_in}: {exc.strerror}") from exc


def _listed(drop_in: Path) -> list[str]:
    try:
        table = toml_text.loads(read_input(drop_in, MAX_FILE_BYTES).decode())
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError, TooLargeError) as exc:
        raise ConfigError(f"{drop_in} is not TOML: {exc}") from exc
    policy = table.get("policy")
    listed = policy.get("convicted") if isinstance(policy, dict) else None
    if set(table) != {"policy"} or not isinstance(policy, dict) or set(policy) != {"convicted"}:
        raise ConfigError(
            f"{drop_in} has other settings than policy.convicted, which would be lost",
            hint="move them to another file of that directory",
        )
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise ConfigError(f"{drop_in}: policy.convicted: expected a list of PeerIds")
    return list(listed)


def _write(drop_in: Path, names: list[str]) -> None:
    lines = "".join(f'    "{name}",\n' for name in names)
    draft = drop_in.with_name(f".{_NAME}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(f"{_HEAD}[policy]\nconvicted = [\n{lines}]\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, drop_in)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


@contextmanager
def _alone(drop_in: Path) -> Iterator[None]:
    """Keep other processes from changing the drop-in. The lock is the directory's: no file is left behind."""
    directory = os.open(drop_in.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
