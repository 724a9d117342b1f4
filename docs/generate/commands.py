"""docs/reference/commands.md: every command with its options, as `--help` has them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from plasm_core.cli import exits
from plasm_core.cli.commands import cli
from plasm_core.daemon.main import plasmd

HEAD = """\
# Commands

```sh
plasm --help
plasm run --help
plasmd --help
```

Every command of `plasm` and `plasmd`, as `--help` has them.
"""
OUTCOMES = """\
## Exit codes

| code | name | what it means |
|---|---|---|
"""
_TYPED = re.compile(r"`[^`]+`|/ip4/\S+|(?<![\w-])--[a-z][a-z-]*")
"""What in an explanation a reader types; some of it has its backticks already."""
MEANINGS = {
    "OK": "it worked; of a job, that it exited with code 0",
    "FAILURE": "something did not work, and none of the others says it better",
    "USAGE": "the command line is wrong",
    "CONFIGURATION": "the configuration cannot be used",
    "PLUGIN": "a plugin is missing, broken, or provided twice",
    "UNREACHABLE": "no daemon or node answers, or not in time",
    "JOB_FAILED": "the job ended otherwise than with code 0; its receipt is as good as any",
    "REJECTED": "a receipt does not hold",
    "UNDECIDED": "nothing could be decided about a receipt, as of a key that nobody told you to trust",
}


def render() -> str:
    """Return the whole page."""
    parts = [HEAD, OUTCOMES + "".join(_exit_codes())]
    parts += [_command(command, path) for command, path in _commands(cli, "plasm")]
    parts.append(_command(plasmd, "plasmd"))
    return "\n".join(parts)


def _exit_codes() -> Iterator[str]:
    for name, meaning in MEANINGS.items():
        yield f"| {getattr(exits, name)} | {name.lower().replace('_', ' ')} | {meaning} |\n"


def _commands(command: click.Command, path: str) -> Iterator[tuple[click.Command, str]]:
    if not isinstance(command, click.Group):
        yield command, path
        return
    if command.invoke_without_command:
        yield command, path
    for name, item in command.commands.items():
        yield from _commands(item, f"{path} {name}")


def _command(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    options = [item for item in command.params if isinstance(item, click.Option)]
    rows = [found for item in options if (found := item.get_help_record(context))]
    paragraphs = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    lines = [f"## {path}", "", "```text", f"{path} {usage}", "```", ""]
    lines += [line for part in paragraphs for line in (marked(part), "")]
    lines += ["| option | what it does |", "|---|---|"]
    lines += [f"| `{cell(names)}` | {_explained(text)} |" for names, text in rows]
    return "\n".join([*lines, ""])


def _explained(text: str) -> str:
    return marked(cell(text))


def marked(text: str) -> str:
    """Put what a reader types into backticks, once."""
    return _TYPED.sub(lambda found: f"`{found[0].strip('`')}`", text)


def cell(text: str) -> str:
    """Return a text as a table's cell takes it."""
    return " ".join(text.split()).replace("|", "\\|")
