"""Hold how the daemon is put together: parts are passed to what needs them, and nothing is assigned from outside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

DAEMON = Path(__file__).parents[2] / "plasm_core" / "daemon"

OWN_RECORDS = {"attempt", "found", "line", "live", "offer", "scope", "track", "turn"}
"""Names of records whose one owner is the object that changes them, and of trio's cancel scopes."""
TRIO = {"total_tokens"}


def _targets(statement: ast.AST) -> Iterator[ast.Attribute]:
    """Yield the attributes that a statement assigns."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    elif isinstance(statement, (ast.AugAssign, ast.AnnAssign)):
        targets = [statement.target]
    while targets:
        target = targets.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            targets += target.elts
        elif isinstance(target, ast.Attribute):
            yield target


def _is_from_outside(target: ast.Attribute) -> bool:
    """Whether the object that is changed is neither the one that changes it nor a record of its own."""
    if isinstance(target.value, ast.Name):
        return target.value.id not in {"self", *OWN_RECORDS}
    return (
        isinstance(target.value, ast.Attribute)
        and not target.value.attr.startswith("_")
        and target.attr not in TRIO
    )


def test_no_part_of_the_daemon_assigns_an_attribute_of_another() -> None:
    found = [
        f"{path.relative_to(DAEMON)}:{target.lineno}: {ast.unparse(target)}"
        for path in sorted(DAEMON.rglob("*.py"))
        for statement in ast.walk(ast.parse(path.read_bytes()))
        for target in _targets(statement)
        if _is_from_outside(target)
    ]

    assert found == []
