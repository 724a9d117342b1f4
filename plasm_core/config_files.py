"""The files of the configuration: one main file, and the drop-ins in a directory next to it, as in systemd and
PostgreSQL.

Upgrades may replace the file that a package ships; drop-ins belong to the administrator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plasm_core import paths, toml_text
from plasm_core.config_origins import Origins
from plasm_core.errors import ConfigError
from plasm_core.input_file import is_stored, read_input

MAX_FILE_BYTES = 1 << 20
MAX_DROP_INS = 64


def read_files(file: Path | None, environ: Mapping[str, str], origins: Origins) -> dict[str, Any]:
    """Return the merged tables of the configuration file and its drop-ins; empty if there are none.

    `file`: the file that the user named, None for `PLASM_CONFIG` or the default. Tables are merged key by key; of one
    key the drop-in that sorts last wins. Raises: `ConfigError`.
    """
    named = file or (Path(environ["PLASM_CONFIG"]) if "PLASM_CONFIG" in environ else None)
    path = named or paths.config_file()
    if path is None:
        return {}
    tree = _read(path, origins, required=named is not None)
    for drop_in in drop_ins(path):
        _merge(tree, _read(drop_in, origins, required=True))
    return tree


def drop_ins(file: Path) -> list[Path]:
    """Return the drop-ins of a configuration file, in order: `plasmd.d/*.toml` for `plasmd.toml`. Raises: `ConfigError`."""
    directory = file.with_suffix(".d")
    if file.suffix != ".toml" or (file.exists() and not is_stored(file)):
        return []
    try:
        found = sorted(item for item in directory.iterdir() if item.suffix == ".toml" and item.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as exc:
        raise ConfigError(f"cannot read {directory}: {exc.strerror}") from exc
    if len(found) > MAX_DROP_INS:
        raise ConfigError(f"{directory} has more than {MAX_DROP_INS} files")
    return found


def _read(path: Path, origins: Origins, *, required: bool) -> dict[str, Any]:
    try:
        data = read_input(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        if not required:
            return {}
        raise ConfigError(f"no configuration file at {path}") from None
    except PermissionError as exc:
        own = "set HOME or XDG_CONFIG_HOME to a directory of yours, or name a file with --config"
        hint = None if required else own  # as after su without -, in the environment of another user
        raise ConfigError(f"cannot read {path}: {exc.strerror}", hint=hint) from exc
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}") from exc
    try:
        text = data.decode()
        origins.read(path, text)
        return toml_text.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path} is not TOML: {exc}") from exc


def _merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Put the keys of a table into another, those of tables inside them one by one."""
    for name, value in other.items():
        table = tree.get(name)
        if isinstance(table, dict) and isinstance(value, dict):
            _merge(table, value)
        else:
            tree[name] = value
