"""Hold docs/plugins/ to the code: every hook, class and method is there, with its exact signature."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from plasm_core.plugins import engine, hookspecs, interfaces
from plasm_core.plugins.interfaces import Verifier
from plasm_core.records import claim, observables, plan
from plasm_core.records.converter import unstructure
from plasm_verifier_audit import AuditVerifier
from plasm_verifier_credible import CredibleVerifier
from plasm_verifier_quorum import QuorumVerifier
from plasm_verifier_reexecute import ReexecuteVerifier
from tests.support.receipts import ROOT

DOCS = ROOT / "docs" / "plugins"
TEMPLATE = ROOT / "examples" / "plasm-verifier-budget"
SECOND = TEMPLATE.with_name("plasm-verifier-second")
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
HOOKS = [name for name in vars(hookspecs) if name.startswith("plasm_")]


@attrs.frozen
class Signatures:
    """What a class says: its fields and methods by name, as they are written, without bodies."""

    of: dict[str, str]
    abstract: frozenset[str]


def blocks(page: str, language: str = "python") -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def written(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return a function's signature in one way of writing it."""
    word = "async def" if isinstance(definition, ast.AsyncFunctionDef) else "def"
    returns = ast.unparse(definition.returns) if definition.returns else "?"
    decorators = "".join(f"@{ast.unparse(item)} " for item in definition.decorator_list)
    return f"{decorators}{word} {definition.name}({ast.unparse(definition.args)}) -> {returns}"


def is_public(name: str) -> bool:
    return not name.startswith("_") or name == "__or__"


def signatures(definition: ast.ClassDef) -> Signatures:
    found, abstract = {}, set()
    for item in definition.body:
        if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_public(item.name):
            found[item.name] = written(item)
            if "@abstractmethod" in found[item.name]:
                abstract.add(item.name)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            found[item.target.id] = ast.unparse(item.annotation)
            if item.value is not None and "ClassVar" in found[item.target.id]:
                found[item.target.id] += f" = {ast.unparse(item.value)}"
    return Signatures(found, frozenset(abstract))


def classes(source: str) -> Iterator[tuple[str, str, Signatures]]:
    """Return the name, the bases and the signatures of each class in a source."""
    for item in ast.walk(ast.parse(source)):
        if isinstance(item, ast.ClassDef):
            yield item.name, ", ".join(map(ast.unparse, item.bases)), signatures(item)


def in_code(*modules: object) -> dict[str, tuple[str, Signatures]]:
    return {
        name: (bases, found)
        for module in modules
        for name, bases, found in classes(Path(str(vars(module)["__file__"])).read_text())
    }


CODE = in_code(interfaces, engine, claim, observables, plan)
DOCUMENTED = {
    name: page for page in PAGES for block in blocks(page) for name, _, _ in classes(block) if name in CODE
}


def test_the_pages_are_read_at_all() -> None:
    assert {"index.md", "tutorial.md", "verifier.md"} <= set(PAGES)
    assert CODE["Verifier"][1].abstract == {"judge"}
    assert CODE["Signer"][1].of["sign"] == "@abstractmethod def sign(self, message: bytes) -> bytes"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_page_with_its_exact_signature(hook: str) -> None:
    (definition,) = [
        item
        for item in ast.parse(Path(hookspecs.__file__).read_text()).body
        if isinstance(item, ast.FunctionDef) and item.name == hook
    ]
    page = f"{hook.removeprefix('plasm_')}.md"
    shown = [
        written(item)
        for block in blocks(page)
        for item in ast.parse(block).body
        if isinstance(item, ast.FunctionDef) and item.name == hook
    ]

    assert shown == [written(definition)]
    assert f"]({page}) |" in (DOCS / "index.md").read_text()


@pytest.mark.parametrize("kind", interfaces.KINDS)
def test_every_kind_is_described_on_its_page(kind: str) -> None:
    assert DOCUMENTED[interfaces.KINDS[kind].__name__] == f"{kind}.md"


@pytest.mark.parametrize("name", sorted({*in_code(interfaces), *in_code(claim), *DOCUMENTED}))
def test_every_class_is_documented_as_it_is(name: str) -> None:
    """All its public fields and methods, no more and no less."""
    found = [
        (bases, shown)
        for block in blocks(DOCUMENTED[name])
        for shown_name, bases, shown in classes(block)
        if shown_name == name
    ]
    bases, expected = CODE[name]

    assert found == [(bases, expected)]


@pytest.mark.parametrize("name", ["Engine", "LoadedModule", "Instance", "Memory"])
def test_what_a_runtime_implements_in_its_child_is_documented(name: str) -> None:
    assert DOCUMENTED[name] == "runtime.md"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (DOCS / page).read_text())

    assert [link for link in links if not (DOCS / link).exists()] == []


@pytest.mark.parametrize(
    ("file", "language"),
    [("plasm_verifier_budget.py", "python"), ("pyproject.toml", "toml"), ("tests/test_budget.py", "python")],
)
def test_the_tutorial_shows_the_template_to_the_letter(file: str, language: str) -> None:
    assert (TEMPLATE / file).read_text() in blocks("tutorial.md", language)


def test_the_tutorial_shows_the_verifier_that_learns_to_the_letter() -> None:
    assert (SECOND / "plasm_verifier_second.py").read_text() in blocks("tutorial.md", "python")


@pytest.mark.parametrize("template", ["budget", "second"])
def test_the_template_is_as_short_as_the_tutorial_says(template: str) -> None:
    """25 lines of code, six of packaging."""
    folder = TEMPLATE.with_name(f"plasm-verifier-{template}")
    lines = [line for line in (folder / f"plasm_verifier_{template}.py").read_text().splitlines() if line]
    packaging = [line for line in (folder / "pyproject.toml").read_text().splitlines() if line]

    assert len(lines) <= 25
    assert len(packaging) == 6


OURS = [AuditVerifier(), CredibleVerifier(), QuorumVerifier(), ReexecuteVerifier()]


@pytest.mark.parametrize("made", OURS, ids=lambda made: made.name)
def test_the_defaults_of_our_verifiers_are_the_codes(made: Verifier) -> None:
    page = (DOCS / "verifier.md").read_text()
    section = page.partition(f"## The verifier `{made.name}`\n")[2].partition("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE))

    assert {name: json.loads(value.strip("`")) for name, value in shown.items()} == unstructure(made)
