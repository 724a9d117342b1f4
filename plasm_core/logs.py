"""The log of the daemon and of the web server: one line an event, as text or as JSON.

A message is a few words and facts as `name=value`. Never a secret, an input, or a client's address.

Which facts there are is read off the message's template, which this project wrote, before any value is put in:
a value that strangers chose cannot add a fact or replace one.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timezone
from types import TracebackType

from plasm_core.config import DaemonConfig
from plasm_core.printable import json_text, visible

OWN = ("plasm_core", "plasm_transport_local", "plasm_transport_libp2p")
"""The loggers whose messages are written as said above."""

_FACT = re.compile(r"(?:^|\s)([a-z][a-z0-9_]*(?:\{[^}\s]*\})?)=")
_PLAIN = re.compile(r'[^\s="\\]+')
_CONVERSION = re.compile(r"%(?:%|[-#0 +]*[0-9]*(?:\.[0-9]+)?[a-zA-Z])")
_RESERVED = frozenset({"time", "level", "logger", "event", "message", "exception"})

_FAILED = "ended by an error"

Facts = Sequence[tuple[str, str]]

log = logging.getLogger(__name__)


class TextFormatter(logging.Formatter):
    """Formats log lines for people: time, level, the event's words, then its facts in logfmt, on one line.

    Under systemd, which adds the time, a line begins with its level (sd-daemon(3)).
    """

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        event, facts = split_facts(record)
        words = [event] if event or not facts else []
        if record.exc_info:
            facts = [*facts, ("exception", self.formatException(record.exc_info))]
        message = visible(" ".join([*words, *(f"{name}={_quoted(value)}" for name, value in facts)]))
        if self._journal:
            level = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3}.get(record.levelname, 3)
            return f"<{level}>{message}"
        return f"{_time(record)} {record.levelname.lower():7} {message}"


class JsonFormatter(logging.Formatter):
    """Formats one JSON object per line: time, level, logger, event, and each fact under its name.

    A fact with one of these names, or named `message` or `exception`, gets the prefix `fact_`; a name that occurs
    twice gets a number as suffix.
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
    """Split a log record into its event and its facts. A fact's value ends where the template has the next fact.

    For the loggers of other libraries, and if the values do not fit the template, the whole message is the event.
    """
    template, values = record.msg, record.args or ()
    if not isinstance(template, str) or not isinstance(values, tuple) or not _is_own(record.name):
        return _whole(record), ()
    names, pieces = _split_template(template)
    texts, used = [], 0
    for piece, count in pieces:
        if values:
            try:
                piece %= values[used : used + count]
            except (TypeError, ValueError):
                return _whole(record), ()
            used += count
        texts.append(piece)
    if used != len(values):
        return _whole(record), ()
    return texts[0], list(zip(names, texts[1:], strict=True))


@functools.lru_cache(maxsize=1024)
def _split_template(template: str) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """Return the names of a template's facts, and its pieces: the event's and each fact's, with how many values each takes.

    There are as many templates as calls that log, and each is split once.
    """
    found = list(_FACT.finditer(template))
    starts = [0, *(match.end() for match in found)]
    ends = [*(match.start() for match in found), len(template)]
    pieces = [template[start:end] for start, end in zip(starts, ends, strict=True)]
    counts = [sum(item != "%%" for item in _CONVERSION.findall(piece)) for piece in pieces]
    return tuple(match[1] for match in found), tuple(zip(pieces, counts, strict=True))


def _whole(record: logging.LogRecord) -> str:
    """Return a message with its values filled in; if they do not fit, the values follow it, so that the line is not
    lost.
    """
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args!r}"


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in OWN


def _quoted(value: str) -> str:
    """Return a value in logfmt: quoted and escaped if it is empty or has more than one word."""
    return value if _PLAIN.fullmatch(value) else json_text(value)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_journal() -> bool:
    """Return whether stderr is the journal's own stream: the variable is inherited, the stream may not be."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def set_up(config: DaemonConfig) -> None:
    """Send the log to stderr, in the format and at the level of the configuration.

    Every line of a log in JSON is JSON: warnings of Python and exceptions that nobody catches are written to it, too.
    """
    journal = _is_journal()
    as_json = config.log_format == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(journal=journal))
    # What no line shows need not be found out for each (Logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OWN:
        logging.getLogger(name).setLevel(config.log_level.upper())
    logging.captureWarnings(as_json)
    sys.excepthook = _log_uncaught if as_json else sys.__excepthook__
    threading.excepthook = _log_uncaught_in_thread if as_json else threading.__excepthook__


def is_json() -> bool:
    """Return whether this process writes a log, and in JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def log_failure(message: str, hint: str | None) -> None:
    """Log the error that ends this process, with its hint if it has one."""
    if hint:
        log.error(f"{_FAILED} reason=%s hint=%s", message, hint)
    else:
        log.error(f"{_FAILED} reason=%s", message)


def logged_failure(line: str) -> tuple[str, str | None] | None:
    """Return the error and the hint that `log_failure` wrote to a line of a log in JSON; None for other lines."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if (
        not isinstance(entry, dict)
        or entry.get("event") != _FAILED
        or not isinstance(entry.get("reason"), str)
    ):
        return None
    hint = entry.get("hint")
    return entry["reason"], hint if isinstance(hint, str) else None


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("ended by an unexpected error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        log.critical("a thread ended by an unexpected error", exc_info=info)
