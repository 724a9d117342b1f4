"""The daemon's log: one line an event, as text or as JSON.

A message is a few words and facts as `name=value`. Never a secret, an input, or a client's address.

Which facts there are is read off the message's template, which this project wrote, before any value is put in:
a value that strangers chose cannot add a fact or replace one.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from datetime import datetime, timezone

from plasm_core.config import DaemonConfig
from plasm_core.printable import json_text, visible

OWN = ("plasm_core", "plasm_transport_local", "plasm_transport_libp2p")
"""The loggers whose messages are written as said above."""

_FACT = re.compile(r"(?:^|\s)([a-z][a-z0-9_]*(?:\{[^}\s]*\})?)=")
_CONVERSION = re.compile(r"%(?:%|[-#0 +]*[0-9]*(?:\.[0-9]+)?[a-zA-Z])")
_RESERVED = frozenset({"time", "level", "logger", "event", "message", "exception"})

Facts = Sequence[tuple[str, str]]


class TextFormatter(logging.Formatter):
    """Lines for people. Under systemd, which has its own clock, they begin with the level (sd-daemon(3))."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        event, facts = split_facts(record)
        words = [event] if event or not facts else []
        message = visible(" ".join([*words, *(f"{name}={_quoted(value)}" for name, value in facts)]))
        if record.exc_info:
            # Set off: no line of a stranger's words can pass for one of ours.
            trace = visible(self.formatException(record.exc_info), keep="\n")
            message += "".join(f"\n  {line}" for line in trace.split("\n"))
        if self._journal:
            level = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3}.get(record.levelname, 3)
            return "\n".join(f"<{level}>{line}" for line in message.split("\n"))
        return f"{_time(record)} {record.levelname.lower():7} {message}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, and each fact under its name.

    A fact with one of these names, or `message` or `exception`, has `fact_` before it; one that is there already
    has a number behind it.
    """

    def format(self, record: logging.LogRecord) -> str:
        event, facts = split_facts(record)
        entry = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry["event"] = event
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        for name, value in facts:
            first = key = f"fact_{name}" if name in _RESERVED else name
            number = 1
            while key in entry:
                number += 1
                key = f"{first}_{number}"
            entry[key] = value
        return json_text(entry)


def split_facts(record: logging.LogRecord) -> tuple[str, Facts]:
    """Return an event's words and its facts. A fact's value goes on to where the template has the next fact.

    Of others' loggers, and where values do not fit their template, all of the message is the event.
    """
    template, values = record.msg, record.args or ()
    if not isinstance(template, str) or not isinstance(values, tuple) or not _is_own(record.name):
        return _whole(record), ()
    found = list(_FACT.finditer(template))
    starts = [0, *(match.end() for match in found)]
    ends = [*(match.start() for match in found), len(template)]
    texts, used = [], 0
    for start, end in zip(starts, ends, strict=True):
        piece = template[start:end]
        if values:
            count = sum(item != "%%" for item in _CONVERSION.findall(piece))
            try:
                piece %= values[used : used + count]
            except (TypeError, ValueError):
                return _whole(record), ()
            used += count
        texts.append(piece)
    if used != len(values):
        return _whole(record), ()
    return texts[0], [(match[1], text) for match, text in zip(found, texts[1:], strict=True)]


def _whole(record: logging.LogRecord) -> str:
    """Return a message with its values, beside them if they do not fit: a log line is not to be lost."""
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in OWN


def _quoted(value: str) -> str:
    """Return a value as text has it: in quotes if it could be taken for several facts."""
    return json_text(value) if "=" in value or value.startswith('"') else value


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def set_up(config: DaemonConfig) -> None:
    """Log on stderr as the configuration says, from now on."""
    journal = bool(os.environ.get("JOURNAL_STREAM"))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.log_format == "json" else TextFormatter(journal=journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OWN:
        logging.getLogger(name).setLevel(config.log_level.upper())
