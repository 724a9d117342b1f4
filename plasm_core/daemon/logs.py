"""The daemon's log: one line an event, as text or as JSON.

A message is a few words and facts as `name=value`. Never a secret, an input, or a client's address.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from datetime import datetime, timezone

from plasm_core.config import DaemonConfig

_FACT = re.compile(r"(?:^|\s)([a-z][a-z0-9_]*)=")


class TextFormatter(logging.Formatter):
    """Lines for people. Under systemd, which has its own clock, they begin with the level (sd-daemon(3))."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        message = _one_line(record.getMessage())
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        if self._journal:
            level = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3}.get(record.levelname, 3)
            return "\n".join(f"<{level}>{line}" for line in message.split("\n"))
        return f"{_time(record)} {record.levelname.lower():7} {message}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and each fact under its name."""

    def format(self, record: logging.LogRecord) -> str:
        event, facts = split_facts(record.getMessage())
        entry = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry |= {"event": event} | {name: value for name, value in facts.items() if name not in entry}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def split_facts(message: str) -> tuple[str, dict[str, str]]:
    """Split a message into its words and its facts. A fact's value goes on to the next fact."""
    found = list(_FACT.finditer(message))
    if not found:
        return message, {}
    ends = [match.start() for match in found[1:]] + [len(message)]
    facts = {match[1]: message[match.end() : end] for match, end in zip(found, ends, strict=True)}
    return message[: found[0].start()], facts


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Escape what could forge a line or move a cursor: some words come from strangers."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def set_up(config: DaemonConfig) -> None:
    """Log on stderr as the configuration says, from now on."""
    journal = bool(os.environ.get("JOURNAL_STREAM"))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else TextFormatter(journal=journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("plasm_core", "plasm_transport_local", "plasm_transport_libp2p"):
        logging.getLogger(name).setLevel(config.log_level.upper())
