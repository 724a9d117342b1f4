"""The kinds of trap, as docs/determinism.md names them. Light: records and every worker import it."""

TRAP_KINDS = (
    "unreachable",
    "memory_out_of_bounds",
    "table_out_of_bounds",
    "indirect_call_to_null",
    "bad_signature",
    "integer_overflow",
    "integer_division_by_zero",
    "bad_conversion_to_integer",
    "stack_exhausted",
    "uncaught_exception",
    "null_reference",
)
