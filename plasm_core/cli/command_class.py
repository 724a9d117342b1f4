"""The click class of every command: it refuses an option that is given twice, and names similar options."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

_JOB_WORDS = frozenset({"args", "words"})
"""Parameters that hold a job's arguments, where an empty one is as good as any."""


class Command(click.Command):
    """A command that uses or refuses every value, and ignores none (docs/operations.md, "Options and files").

    An option with one value may be given once. Values must not be empty, except the job's arguments: a shell passes
    an empty word for a variable that is not set.
    """

    def make_parser(self, ctx: click.Context) -> Any:
        """Make a parser that leaves the job's words whole.

        click would take `-quiet` for `-q` and hand `-uiet` on, and `-hash` for `-h`. An unknown `--word` is refused:
        it may be an option of the command that is misspelt, which would do nothing.
        """
        parser: Any = super().make_parser(ctx)  # these methods and their state are no public API of click
        if parser.ignore_unknown_options:
            take_apart = parser._match_short_opt

            def match(word: str, state: Any) -> None:
                if all(f"{word[0]}{letter}" in parser._short_opt for letter in word[1:]):
                    take_apart(word, state)
                else:
                    state.largs.append(word)

            match_long = parser._match_long_opt

            def known(word: str, value: str | None, state: Any) -> None:
                if word.startswith("--") and word not in parser._long_opt:
                    raise click.UsageError(_no_such_option(word, parser._long_opt, ctx), ctx)
                match_long(word, value, state)

            parser._match_short_opt = match
            parser._match_long_opt = known
        return parser

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in dict.fromkeys(given):
            single = isinstance(option, click.Option) and not (
                option.multiple or option.is_flag or option.count or option.is_eager
            )
            if single and given.count(option) > 1:
                raise click.UsageError(f"{option.opts[0]} was given more than once: it takes one value", ctx)
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            if parameter.name in _JOB_WORDS or not isinstance(value, (str, Path, tuple)):
                continue
            if "" in (value if isinstance(value, tuple) else (_text(value),)):
                name = (
                    parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(ctx)
                )
                raise click.UsageError(
                    f"{name} is empty; leave it out if it is not meant (is a variable of the shell not set?)",
                    ctx,
                )
        return rest


def _no_such_option(word: str, known: Iterable[str], ctx: click.Context) -> str:
    import difflib  # takes as long to import as a small command takes

    close = difflib.get_close_matches(word, known, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    return f"no such option: {word}{meant}; if it is for the job, put -- before it: {ctx.command_path} MODULE -- {word}"


def _text(value: str | Path) -> str:
    return "" if value == Path() else str(value)
