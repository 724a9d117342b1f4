"""docs/reference/python.md: what a Python program calls, as the docstrings have it."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from plasm_core import client as clients
from plasm_core import errors
from plasm_core.client import submission
from plasm_core.records import Verdict

HEAD = """\
# Python API

```sh
plasmd 2> plasmd.log &
```

```python
from plasm_core import Client, verify

result = Client().run("examples/hello/hello.wasm", stdin=b"Hello, world")
print(result, result.verdict)
print(verify(result.envelope, stdout=result.stdout))
```

Every call of the Python client, from its docstring; the examples use the daemon that the first line starts.
The package has type annotations.
A time is in seconds (`timeout_s`), a size in bytes.
"""
ASYNC = """\
## In an asyncio program

`Client` may be shared by threads, so an asyncio program calls it in threads:

```python
import asyncio

from plasm_core import Client


async def main() -> None:
    with Client() as client:
        handle = await asyncio.to_thread(client.submit, "examples/hello/hello.wasm", args=["one"])
        first, second = await asyncio.gather(
            asyncio.to_thread(client.result, handle),
            asyncio.to_thread(client.run, "examples/hello/hello.wasm", args=["two"]),
        )
    print(first, second)


asyncio.run(main())
```

A thread is not interrupted when its task is cancelled: cancel the job itself, with `client.cancel(handle)` in a thread.
`AsyncClient` is for programs on trio.

"""
METHODS: dict[str, Callable[..., Any]] = {
    **{
        f"Client.{name}" if name != "__init__" else "Client": getattr(clients.Client, name)
        for name in vars(clients.Client)
        if name == "__init__" or not name.startswith("_")
    },
    "verify": clients.verify,
    "Submission.of": clients.Submission.of,
    "JobResult.check": clients.JobResult.check,
}
"""The calls, each with an example, by the names that they have on the page."""
_NODES = "names a node that does not exist"


def render() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for name, call in METHODS.items():
        if name == "Client":
            parts.append(f"## Client\n\n{_prose(inspect.getdoc(clients.Client) or '')}\n")
            parts.append(f"### The parameters of a client\n\n{_call(name, call)}")
            parts.append(
                f"They are those of `open_client`:\n\n{_prose(inspect.getdoc(clients.open_client) or '')}\n"
            )
        else:
            level = "###" if name.startswith("Client.") else "##"
            parts.append(f"{level} {name}\n\n{_call(name, call)}")
    parts.append(f"## PlasmExecutor\n\n{_prose(inspect.getdoc(clients.PlasmExecutor) or '')}\n")
    parts.append(f"## The terms of a job\n\n{_terms()}")
    parts.append(
        f"## JobResult\n\n{_prose(inspect.getdoc(clients.JobResult) or '')}\n\n{_attributes(clients.JobResult)}"
    )
    parts.append(f"## Verdict\n\n{_prose(inspect.getdoc(Verdict) or '')}\n\n{_attributes(Verdict)}")
    parts.append(ASYNC.rstrip("\n") + "\n")
    parts.append(f"## AsyncClient\n\n{_prose(inspect.getdoc(clients.AsyncClient) or '')}\n")
    parts.append(f"## Errors\n\n{_errors()}")
    return "\n".join(parts)


def has_example(call: Callable[..., Any]) -> bool:
    """Return whether a docstring has an example, which is an indented block."""
    return "```python" in _prose(inspect.getdoc(call) or "")


def _call(name: str, call: Callable[..., Any]) -> str:
    return f"```text\n{_signature(name, call)}\n```\n\n{_prose(inspect.getdoc(call) or '')}\n"


def _signature(name: str, call: Callable[..., Any]) -> str:
    found = inspect.signature(call)
    lines, keyword = [], False
    for item in found.parameters.values():
        if item.name in ("self", "cls", "capability", "sent"):
            continue
        if item.kind is item.KEYWORD_ONLY and not keyword:
            keyword = True
            if not any(other.kind is other.VAR_POSITIONAL for other in found.parameters.values()):
                lines.append("*,")
        stars = {item.VAR_POSITIONAL: "*", item.VAR_KEYWORD: "**"}.get(item.kind, "")
        default = "" if item.default is item.empty else f" = {_default(item.default)}"
        lines.append(f"{stars}{item.name}: {item.annotation}{default},")
    returned = "" if name == "Client" else f" -> {found.return_annotation}"
    return (
        f"{name}(\n{textwrap.indent(chr(10).join(lines), '    ')}\n){returned}"
        if lines
        else f"{name}(){returned}"
    )


def _default(value: Any) -> str:
    return "…" if callable(value) else repr(value)


def _prose(doc: str) -> str:
    """Return a docstring as Markdown: an indented block in it is an example."""
    parts: list[str] = []
    for is_code, blocks in itertools.groupby(doc.split("\n\n"), lambda block: block.startswith("    ")):
        if is_code:
            code = textwrap.dedent("\n\n".join(blocks))
            note = f"<!-- not run: {_NODES} -->\n" if '12D3KooW…"' in code else ""
            parts.append(f"{note}```python\n{code}\n```")
        else:
            parts += [" ".join(block.split()) for block in blocks]
    return "\n\n".join(parts)


def _terms() -> str:
    rows = [f"| `{name}` | `{kind}` | {_cell(text)} |" for name, kind, text in _documented(submission.Terms)]
    head = _prose(inspect.getdoc(submission.Terms) or "")
    return "\n".join([head, "", "| term | type | meaning |", "|---|---|---|", *rows, ""])


def _attributes(cls: type) -> str:
    rows = [f"| `{name}` | `{kind}` | {_cell(text)} |" for name, kind, text in _documented(cls)]
    rows += [
        f"| `{name}` | `{inspect.signature(item.fget).return_annotation}` | {_cell(inspect.getdoc(item) or '')} |"
        for name, item in vars(cls).items()
        if isinstance(item, property) and item.fget is not None
    ]
    return "\n".join(["| attribute | type | meaning |", "|---|---|---|", *rows, ""])


def _documented(cls: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and docstring of each field of a class, in the order of its source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    body = definition.body
    for item, following in zip(body, [*body[1:], None], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = str(following.value.value)
            yield item.target.id, ast.unparse(item.annotation), text


def _errors() -> str:
    named = [
        (name, inspect.getdoc(cls) or "")
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.PlasmError)
    ]
    rows = [f"| `{name}` | {_cell(doc.partition(chr(10) + chr(10))[0])} |" for name, doc in named]
    return "\n".join(["All are in `plasm_core.errors`.", "", "| error | meaning |", "|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
