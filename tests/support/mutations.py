"""Strategies that damage JSON documents: here and there something is taken away, added or exchanged."""

import copy
from typing import Any

from hypothesis import strategies as st

Path = tuple[str | int, ...]

SCALARS: list[Any] = [
    None,
    True,
    False,
    *(-1, 0, 1, 1.0, -0.0, 1.5, 100, 101, 1024, 65_535, 65_536, 2**32, 2**40, 2**53 - 1, 2**53, 1e300),
    *("", "0", "1", "01", "-1", "1.0", "18446744073709551615", "99999999999999999999999"),
    *("00" * 16, "00" * 32, "AB" * 32, "00" * 32 + "\n", "x", "\n", "\u0660", "\ud800", "x" * 513),
    *("clock.real", "exited", "trapped", "out_of_gas", "timed_out", "unreachable", "stdout", "stderr"),
    *("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z", "2026-01-02", "process", "shared", "none"),
]
CONTAINERS: list[Any] = [
    [],
    {},
    [[]],
    [None],
    ["clock.real"],
    ["random.real", "clock.real"],
    ["clock.real", "clock.real"],
    ["net"],
    {"kind": "exited"},
    {"kind": "exited", "code": 1},
    {"kind": "trapped", "code": 1},
    {"kind": "trapped", "trap": "unreachable", "code": None},
    {"kind": "out_of_gas", "detail": "why"},
    {"kind": "timed_out", "detail": "why"},
    {"attempts": 1},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
# A copy each time: what is put in may be changed by the next mutation.
values = st.sampled_from(SCALARS) | st.sampled_from(CONTAINERS).map(copy.deepcopy) | json_values


def paths(value: Any) -> list[Path]:
    """Return the path to everything inside a document, and the empty one to itself."""
    found: list[Path] = [()]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        found += [(name, *path) for path in paths(item)]
    return found


@st.composite
def mutated(draw: st.DrawFn, document: Any, *, most: int = 3) -> Any:
    """Damage a document in a few places. Where only sound values are put in, it stays sound."""
    whole = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, most))):
        path: Path = (0, *draw(st.sampled_from(paths(whole[0]))))
        parent: Any = whole
        for name in path[:-1]:
            parent = parent[name]
        found = parent[path[-1]]
        change = draw(st.sampled_from(["replace", "replace", "delete", "add"]))
        if change == "delete" and len(path) > 1:
            del parent[path[-1]]
        elif change == "add" and isinstance(found, dict):
            found[draw(st.sampled_from(["extra", "code", "trap", "detail", "attempt", ""]))] = draw(values)
        elif change == "add" and isinstance(found, list):
            found.append(copy.deepcopy(draw(values | st.sampled_from(found or [0]))))
        else:
            parent[path[-1]] = draw(values)
    return whole[0]
