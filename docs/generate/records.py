"""docs/reference/manifest.md and receipt.md: every field, out of the JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from docs.generate import DOCS
from docs.generate.commands import cell
from plasm_core.records.files import guest_path
from plasm_core.records.json_names import camel

Schema = Mapping[str, Any]

MANIFEST = """\
# Manifest

```sh
plasm run examples/hello/hello.wasm --manifest manifest.json
cat manifest.json
```

A manifest is what a submitter sends: what is to be run, by digests, and what it may use.
It is one JSON object of at most 65,536 bytes, without names that are not here.
Its job id is the SHA-256 of its bytes as they were sent; how the task digest is made of its fields is in [Determinism](../determinism.md#three-identities).

The [JSON Schema](../schemas/README.md) has the same in machine-readable form.
"""
RECEIPT = """\
# Receipt

```sh
plasm run examples/hello/hello.wasm --receipt receipt.json
plasm receipt show receipt.json
plasm receipt show --json receipt.json
```

A receipt is a [DSSE envelope](../receipts.md#the-envelope) whose payload, in base64, is the in-toto statement described here.
Names that are not here are ignored, at any depth, so that receipts can grow.
Counters of 64 bits are decimal strings, since PHP and JavaScript lose precision.

The [JSON Schema](../schemas/README.md) has the same in machine-readable form.
"""
DIGEST = "SHA-256 of "
ASKED = {
    "profile": "the determinism contract",
    "module": f"{DIGEST}the module's bytes",
    "args": f"{DIGEST}the list encoding of the arguments",
    "env": f"{DIGEST}the list encoding of the environment",
    "stdin": f"{DIGEST}standard input",
    "seed": "the seed of the job's random numbers",
    "capabilities": "what else than the contract's it may use; with any, a run is not reproducible",
}
LIMITS = (
    "the most gas, counted by the gas schedule",
    "the greatest memory, in bytes",
    "the greatest size of stdout and of stderr, each",
)
FILES = {
    "tree": f"of a job with [files](../files.md), as all of `files`: {DIGEST}the listing of its input tree",
    "read_only": "paths below which it can change nothing",
    "outputs": "paths that are kept",
    "limits.data_bytes": "the bytes of files that it may write",
    "limits.entries": "the names that its tree may have",
    "limits.descriptors": "the descriptors that it may have open",
}
ENTRY = "of a job with an [entry](../determinism.md#entry): the export to call in place of `_start`"
MEANINGS: Mapping[str, Mapping[str, str]] = {
    "manifest": {
        "format": "this format",
        **ASKED,
        "limits.gas": LIMITS[0],
        "limits.memory_bytes": LIMITS[1],
        "limits.output_bytes": LIMITS[2],
        **{f"files.{name}": text for name, text in FILES.items()},
        "entry": ENTRY,
        "wall_time_s": "when the node ends the job; no part of the task, since no other node could check it",
        "cpu": "processors that are set aside; a module has one thread",
        "retry.attempts": "how often a run may be started in all, when a node fails",
        "nonce": "fresh for each submission, so that two runs of one task are two jobs",
    },
    "receipt": {
        "_type": "in-toto's",
        "subject[].name": "which output; `file:PATH` and `tree:PATH` are [files](../files.md#outputs) that the job left",
        "subject[].digest.sha256": f"{DIGEST}that output",
        "predicateType": "this format",
        **{f"predicate.asked.{name}": text for name, text in ASKED.items()},
        **{f"predicate.asked.files.{camel(name)}": text for name, text in FILES.items()},
        "predicate.asked.entry": ENTRY,
        "predicate.asked.jobId": f"{DIGEST}the manifest's bytes",
        "predicate.asked.taskDigest": "what was computed: the digest of the fields beside it",
        "predicate.asked.limits.gas": LIMITS[0],
        "predicate.asked.limits.memoryBytes": LIMITS[1],
        "predicate.asked.limits.outputBytes": LIMITS[2],
        "predicate.result.outcome.kind": "how the run ended",
        "predicate.result.outcome.code": "of `exited`, and only then: the exit code",
        "predicate.result.outcome.trap": "of `trapped`, and only then: which trap",
        "predicate.result.outcome.detail": "of `timed_out`, `cancelled` and `system_error` only: the node's words",
        "predicate.result.reproducible": "true if, and only if, no capability was asked for",
        "predicate.result.gasUsed": "what was used, at most the limit",
        "predicate.result.gasSchedule": "how it was counted",
        "predicate.result.stdoutBytes": "the size of stdout",
        "predicate.result.stderrBytes": "the size of stderr",
        "predicate.claims.startedAt": "when the run began",
        "predicate.claims.finishedAt": "when it ended",
        "predicate.claims.wallTimeMs": "how long it took",
        "predicate.claims.cpuTimeMs": "processor time",
        "predicate.claims.peakMemoryBytes": "the most memory that its process had",
        "predicate.claims.runtime.name": "the engine",
        "predicate.claims.runtime.version": "its version",
        "predicate.claims.isolation": "whether its process was its own",
        "predicate.claims.attempt": "which start this was, if the run was started again",
        "predicate.node.peerId": "the node, by its key, which is the one that signed",
    },
}
GROUPS = {
    "receipt": (
        ("The statement", ("_type", "subject[]", "predicateType"), ""),
        ("What was asked", ("predicate.asked.",), "In `predicate.asked`:"),
        (
            "What anyone can re-check",
            ("predicate.result.",),
            "In `predicate.result`; re-checkable if `reproducible` is true and the outcome is `exited`, `trapped`, `out_of_gas` or `output_limit`:",
        ),
        (
            "What is only the node's word",
            ("predicate.claims.",),
            "In `predicate.claims`; nothing rests on these:",
        ),
        ("Who", ("predicate.node.",), "In `predicate.node`:"),
    ),
    "manifest": (("Fields", ("",), "All fields are required except `files` and `entry`."),),
}


def render_manifest() -> str:
    """Return the manifest's page."""
    return _page("manifest", MANIFEST)


def render_receipt() -> str:
    """Return the receipt's page."""
    return _page("receipt", RECEIPT)


def _page(name: str, head: str) -> str:
    schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    fields = {path: (found, required) for path, found, required in _fields(schema, "", required=True)}
    meanings = MEANINGS[name]
    if set(fields) != set(meanings):
        raise ValueError(f"{name}: not described, or no longer there: {sorted(set(fields) ^ set(meanings))}")
    parts = [head]
    for title, prefixes, text in GROUPS[name]:
        lines = [
            f"## {title}",
            "",
            *([text, ""] if text else []),
            "| field | takes | what it is |",
            "|---|---|---|",
        ]
        for path, (found, required) in fields.items():
            if path.startswith(prefixes):
                optional = "" if required else " (may be missing)"
                shown = path.removeprefix(prefixes[0]) if prefixes[0].endswith(".") else path
                lines.append(f"| `{shown}` | {cell(_takes(found))}{optional} | {cell(meanings[path])} |")
        parts.append("\n".join([*lines, ""]))
    return "\n".join(parts)


def _fields(schema: Schema, path: str, *, required: bool) -> Iterator[tuple[str, Schema, bool]]:
    """Yield path and schema of each value, and whether it is always there."""
    if "properties" in schema:
        for name, found in schema["properties"].items():
            inner = f"{path}.{name}" if path else name
            yield from _fields(found, inner, required=required and name in schema.get("required", ()))
    elif schema.get("type") == "array" and "properties" in schema["items"]:
        yield from _fields(schema["items"], f"{path}[]", required=required)
    else:
        yield path, schema, required


_PATTERNS = {
    guest_path().schema["pattern"]: "a path",
    "^(stdout|stderr|(file|tree):[^\\x00-\\x1f\\x7f]+)$": "a name",
    "^[0-9a-f]{64}$": "64 hexadecimal digits",
    "^[0-9a-f]{32}$": "32 hexadecimal digits",
    "^(0|[1-9][0-9]{0,19})$": "a decimal string",
    "^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$": "a PeerId",
    "^([a-z0-9_-]+)$": "a name",
    "^([\\x20-\\x7e]*)$": "printable ASCII",
    "^([^\\x00-\\x1f]*)$": "a string",
    "^([^\\x00-\\x1f\\x7f]+)$": "the name of an export",
}


def _takes(schema: Schema) -> str:
    """Say what a schema takes."""
    if "enum" in schema:
        return ", ".join(f"`{item}`" for item in schema["enum"] if item is not None)
    if schema.get("format") == "date-time":
        return "RFC 3339, ending in `Z`"
    kind = schema["type"]
    kind = next(item for item in kind if item != "null") if isinstance(kind, list) else kind
    if kind == "boolean":
        return "`true`, `false`"
    if kind == "integer":
        most = schema["maximum"]
        return f"{schema['minimum']:,} to {'2⁵³ - 1' if most == (1 << 53) - 1 else f'{most:,}'}"
    if kind == "array":
        return f"a list of {_takes(schema['items'])}, each once"
    return _PATTERNS[schema["pattern"]]
