"""Every reason for which docs/determinism.md has a module refused, and modules that only just pass."""

from __future__ import annotations

import pytest

from plasm_core.testing.script import FUNCTIONS
from tests.sandbox.modules import command, described, look_at, problems, reasons, wat

TYPES = {"i": "i32", "I": "i64"}


def importing(name: str, params: str, results: str, *, module: str = "wasi_snapshot_preview1") -> bytes:
    """Compile a module with one import of a function."""
    signature = "".join(f" (param {TYPES[char]})" for char in params)
    signature += "".join(f" (result {TYPES[char]})" for char in results)
    return wat(f'(module (import "{module}" "{name}" (func{signature})) …)')


# -- imports


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_of_preview_1_may_be_imported_with_its_type(name: str) -> None:
    results = "" if name == "proc_exit" else "i"

    info = described(importing(name, FUNCTIONS[name], results))

    assert info.imports == [f"function wasi_snapshot_preview1.{name}"]


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_may_be_imported_with_no_other_type(name: str) -> None:
    params, results = FUNCTIONS[name], "" if name == "proc_exit" else "i"
    swapped = params.swapcase()
    for wrong in ((params + "i", results), (params, results + "i"[: not results]), (swapped, results)):
        if wrong != (params, results):
            assert reasons(importing(name, *wrong)) == ["import_type"]
    assert reasons(importing(name, params, "I")) == ["import_type"]


def test_other_functions_are_not_there() -> None:
    assert reasons(importing("fd_dup", "i", "i")) == ["forbidden_import"]
    assert reasons(importing("fd_write", "iiii", "i", module="env")) == ["forbidden_import"]
    assert reasons(importing("gas", "", "", module="plasm")) == ["forbidden_import"]
    assert reasons(importing("", "", "", module="")) == ["forbidden_import"]


def test_preview_0_is_distinguished_from_other_imports() -> None:
    (problem,) = problems(importing("fd_write", "iiii", "i", module="wasi_unstable"))

    assert problem.reason == "forbidden_import"
    assert problem.hint is not None
    assert "preview 0" in problem.hint


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("memory", '(import "wasi_snapshot_preview1" "memory" (memory 1)) (func (export "_start"))'),
        ("table", '(import "wasi_snapshot_preview1" "table" (table 1 funcref)) …'),
        ("global", '(import "wasi_snapshot_preview1" "g" (global i32)) …'),
        ("global", '(import "wasi_snapshot_preview1" "g" (global (mut i64))) …'),
    ],
)
def test_only_functions_may_be_imported(kind: str, text: str) -> None:
    found = problems(wat(f"(module {text})"))

    assert found[0].reason == "forbidden_import"
    assert kind in found[0].message


def test_every_bad_import_is_named() -> None:
    module = wat('(module (import "env" "one" (func)) (import "env" "two" (func)) …)')

    assert [problem.message.count("env.") for problem in problems(module)] == [1, 1]


# -- exports


def test_a_start_is_needed() -> None:
    (problem,) = problems(wat('(module (memory (export "memory") 1) (func (export "_initialize")))'))

    assert problem.reason == "no_start"
    assert problem.hint is not None


def test_the_refusal_of_a_reactor_lists_the_exports_that_can_be_called() -> None:
    exports = '(func (export "run") (result i32) i32.const 1) (func (export "takes") (param i32))'
    (problem,) = problems(wat(f'(module (memory (export "memory") 1) {exports})'))

    assert (problem.reason, problem.hint) == ("no_start", "name the function to call: --entry run")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ('(func (export "go"))', []),
        ('(func (export "go") (result i32) i32.const 1) (func (export "_initialize"))', []),
        ('(func (export "go")) (func (export "_start") (param i32))', []),
        ('(func (export "other"))', ["no_entry"]),
        ('(global (export "go") i32 (i32.const 0))', ["no_entry"]),
        ('(func (export "go") (param i32))', ["entry_type"]),
        ('(func (export "go") (result i64) i64.const 1)', ["entry_type"]),
        ('(func (export "go") (result i32 i32) i32.const 1 i32.const 1)', ["entry_type"]),
        ('(func (export "go")) (func (export "_initialize") (result i32) i32.const 1)', ["entry_type"]),
    ],
)
def test_an_entry_takes_nothing_and_gives_at_most_a_code(fields: str, expected: list[str]) -> None:
    module = wat(f'(module (memory (export "memory") 1) {fields})')

    assert [problem.reason for problem in look_at(module, entry="go")[0].problems] == expected


@pytest.mark.parametrize(
    ("body", "empty"),
    [
        ("", True),
        ("nop", True),
        ("call $nothing return", True),
        ("call $start", True),
        ("call $works", False),
        ("i32.const 1 drop", False),
        ("call $import drop", False),
    ],
)
def test_a_start_that_does_nothing_is_noticed(body: str, empty: bool) -> None:
    module = wat(
        f"""(module (import "wasi_snapshot_preview1" "sched_yield" (func $import (result i32)))
        (memory (export "memory") 1) (func $nothing call $nothing) (func $works unreachable)
        (func $start (export "_start") (local i64) {body}) (func (export "go")) (func (export "")) (func (export "a\\nb")))"""
    )
    info = look_at(module)[0].info

    assert info is not None
    assert (info.start_is_empty, info.entries) == (empty, ["go"])


@pytest.mark.parametrize(
    "text",
    ['(global (export "_start") i32 (i32.const 0))', '(table (export "_start") 1 funcref)'],
)
def test_a_start_must_be_a_function(text: str) -> None:
    assert reasons(wat(f'(module (memory (export "memory") 1) (func) {text})')) == ["no_start"]


@pytest.mark.parametrize("signature", ["(param i32)", "(result i32) i32.const 0"])
def test_a_start_takes_and_gives_nothing(signature: str) -> None:
    module = wat(f'(module (memory (export "memory") 1) (func (export "_start") {signature}))')

    assert reasons(module) == ["start_type"]


def test_an_imported_function_is_no_start_of_the_right_type() -> None:
    module = wat(
        """(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func) (export "_start" (func $exit)))"""
    )

    assert reasons(module) == ["start_type"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(memory 1)",
        '(memory (export "mem") 1)',
        '(memory 1) (global (export "memory") i32 (i32.const 0))',
    ],
)
def test_a_memory_is_needed_under_its_name(text: str) -> None:
    assert reasons(wat(f'(module (func (export "_start")) {text})')) == ["no_memory"]


def test_an_imported_memory_is_not_counted_as_the_modules_own() -> None:
    module = wat(
        '(module (import "env" "m" (memory 1)) (export "memory" (memory 0)) (func (export "_start")))'
    )

    assert reasons(module) == ["forbidden_import", "no_memory"]


@pytest.mark.parametrize("name", ["plasm:gas", "plasm:start", "plasm:fault", "plasm:", "plasm:\u20ac"])
@pytest.mark.parametrize("what", ['(global (export "{}") (mut i64) (i64.const 0))', '(func (export "{}"))'])
def test_names_that_metering_uses_are_reserved(name: str, what: str) -> None:
    assert reasons(wat(f"(module … {what.format(name)})")) == ["reserved_name"]


@pytest.mark.parametrize("name", ["plasm", "Plasm:gas", "a plasm:gas", ""])
def test_names_that_only_look_like_it_are_free(name: str) -> None:
    assert reasons(wat(f'(module … (func (export "{name}")))')) == []


def test_a_module_without_functions_is_not_called_malformed() -> None:
    """It is valid: the rules refuse it, for what it lacks."""
    assert reasons(wat('(module (memory (export "memory") 1))')) == ["no_start"]


def test_all_problems_are_reported_together() -> None:
    module = wat('(module (import "env" "f" (func)) (func (export "plasm:x")))')

    assert sorted(reasons(module)) == ["forbidden_import", "no_memory", "no_start", "reserved_name"]


# -- features


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("threads", '(module (memory (export "memory") 1 2 shared) (func (export "_start")))'),
        ("threads", "(module … (func (drop (i32.atomic.load (i32.const 0)))))"),
        ("memory64", '(module (memory (export "memory") i64 1) (func (export "_start")))'),
        ("memory64", "(module … (table i64 1 funcref))"),
        ("multiple memories", "(module … (memory 1))"),
        ("gc", "(module … (type (struct (field i32))))"),
        ("gc", "(module … (func (drop (ref.i31 (i32.const 1)))))"),
        (
            "relaxed simd",
            "(module … (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))",
        ),
        ("function references", "(module … (type $t (func)) (func (drop (ref.null $t))))"),
        ("custom page sizes", '(module (memory (export "memory") 1 (pagesize 1)) (func (export "_start")))'),
        ("wide arithmetic", "(module … (func (param i64) (result i64 i64) "
         "(i64.add128 (local.get 0) (local.get 0) (local.get 0) (local.get 0))))"),
        ("stack switching", "(module … (type $f (func)) (type $c (cont $f)))"),
    ],
)  # fmt: skip
def test_a_feature_that_is_off_is_refused_by_its_name(feature: str, text: str) -> None:
    (problem,) = problems(wat(text))

    assert problem.reason in ("invalid", "feature")
    assert feature in problem.message.lower()


# -- segments


@pytest.mark.parametrize(
    "text",
    [
        '(data (i32.const 65536) "x")',
        '(data (i32.const 65530) "1234567")',
        '(data (i32.const -1) "x")',
        '(data (i32.const -1) "")',
        '(data (i32.const 65537) "")',
        '(data (i32.const 0x80000000) "x")',
        '(data (i32.const 0) "fits") (data (i32.const 65536) "does not")',
        "(table 2 funcref) (elem (i32.const 2) $f)",
        "(table 2 funcref) (elem (i32.const 1) $f $f)",
        "(table 2 funcref) (elem (i32.const -1) $f)",
        "(table 2 funcref) (elem (i32.const 3))",
        "(table 9 funcref) (table $t 2 funcref) (elem (table $t) (i32.const 2) func $f)",
        "(table 2 funcref) (elem (i32.const 2) funcref (ref.func $f))",
        "(table 9 externref) (table $t 2 externref) (elem (table $t) (i32.const 2) externref (ref.null extern))",
        "(table 2 10 funcref) (elem (i32.const 2) $f)",
    ],
)
def test_a_segment_that_would_fail_to_load_is_refused(text: str) -> None:
    """Instantiating a module must never fail, or its failure would be an outcome of its own."""
    assert reasons(wat(f"(module … (func $f) {text})")) == ["segment_out_of_bounds"]


@pytest.mark.parametrize(
    "text",
    [
        '(data (i32.const 65535) "x")',
        '(data (i32.const 65536) "")',
        '(data "passive, and as long as it likes")',
        "(table 2 funcref) (elem (i32.const 1) $f)",
        "(table 2 funcref) (elem (i32.const 2))",
        "(table 0 funcref) (elem (i32.const 0))",
        "(elem declare func $f)",
        "(elem func $f $f $f)",
        "(table 1 funcref) (table $t 2 funcref) (elem (table $t) (i32.const 1) func $f)",
    ],
)
def test_a_segment_that_just_fits_is_taken(text: str) -> None:
    assert reasons(wat(f"(module … (func $f) {text})")) == []


def test_a_segment_needs_the_memory_it_starts_with_not_the_one_it_grows_to() -> None:
    module = wat(
        '(module (memory (export "memory") 1 9) (func (export "_start")) (data (i32.const 65536) "x"))'
    )

    assert reasons(module) == ["segment_out_of_bounds"]


@pytest.mark.parametrize(
    "text",
    [
        '(import "env" "memory" (memory 1)) (export "memory" (memory 0)) (data (i32.const 8) "x")',
        '(import "env" "table" (table 1 funcref)) (memory (export "memory") 1) (elem (i32.const 0) $f)',
    ],
)
def test_a_segment_of_an_imported_memory_or_table_is_not_said_to_lie_outside(text: str) -> None:
    """The import is the fault: its size is not known."""
    found = reasons(wat(f'(module {text} (func $f (export "_start")))'))

    assert found[0] == "forbidden_import"
    assert "segment_out_of_bounds" not in found


# -- tables


@pytest.mark.parametrize(
    "text",
    [
        "(table 1000001 funcref)",
        "(table 500001 funcref) (table 1 funcref)",
        "(table 1 externref) (table 1 funcref) (table 333334 funcref)",
    ],
)
def test_tables_that_start_with_more_than_their_share_are_refused(text: str) -> None:
    assert reasons(wat(f"(module … {text})")) == ["table_limit"]


@pytest.mark.parametrize(
    "text",
    [
        "(table 1000000 funcref)",
        "(table 500000 funcref) (table 500000 externref)",
        "(table 333333 funcref) (table 0 funcref) (table 0 4000000000 funcref)",
    ],
)
def test_tables_that_start_with_their_share_are_taken(text: str) -> None:
    assert reasons(wat(f"(module … {text})")) == []


# -- names


def test_a_name_in_a_message_cannot_command_a_terminal() -> None:
    """Names are a stranger's; messages are shown to the user, and logged."""
    for text in (
        '(module (import "env\\1b[2J" "f\\07" (func)) …)',
        '(module … (func (export "plasm:\\1b]0;title\\07")))',
    ):
        (problem,) = problems(wat(text))
        assert problem.message.isprintable()


def test_a_name_in_a_message_is_cut_short() -> None:
    module = wat(f'(module (import "env" "{"x" * 50_000}" (func)) …)')

    assert len(problems(module)[0].message) < 1_000


def test_a_module_may_be_as_deep_as_it_likes() -> None:
    """Nesting is read with a stack of one's own, not the interpreter's."""
    assert reasons(command(b"\x02\x40" * 20_000 + b"\x0b" * 20_000)) == []


LONG_FORM = "the module uses typed function references"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(module … (type (func (param nullexnref))))", LONG_FORM),
        ("(module … (func (drop (block (result (ref exn)) unreachable))))", LONG_FORM),
        ("(module … (func (drop (select (result nullexnref) (ref.null noexn) (ref.null noexn) (i32.const 1)))))",
         LONG_FORM),
        ("(module … (table 1 exnref))", LONG_FORM),
        ("(module … (elem exnref (ref.null exn)))", LONG_FORM),
        ("(module … (global exnref (ref.null exn)))", "the module keeps an exception in a global"),
        ("(module … (tag (param externref)))", "with a reference"),
        (f"(module … (tag (param{17 * ' i64'})))", "a tag of more than 16 values"),
        ('(module (import "env" "__cpp_exception" (tag (param i32))) …)', "imports the tag env.__cpp_exception"),
    ],
)  # fmt: skip
def test_references_that_nothing_counts_are_refused(text: str, message: str) -> None:
    """An exception must be kept as a value on the counted stack; a type of two bytes must not be misread."""
    (problem,) = problems(wat(text))

    assert message in problem.message


@pytest.mark.parametrize("before", ["", "0f"])
def test_a_reference_type_in_its_long_form_is_refused(before: str) -> None:
    """The second byte would be taken for an instruction: here of a `select`, reached and not."""
    select = bytes.fromhex(f"{before} d070 d070 4100 1c01 6370 1a")

    (problem,) = problems(command(select))

    assert problem.message.startswith(LONG_FORM)


def test_a_tag_may_be_exported() -> None:
    assert described(wat('(module … (tag (export "t") (param i32 i64 f32 f64 v128)))')).features == [
        "exceptions",
        "simd",
    ]
