"""Verify a bundle: each receipt with the files that it names, and all receipts of one task together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from plasm_core.bundle.archive import Archive
from plasm_core.client.upload import MAX_STREAM_BYTES
from plasm_core.local_node import LocalNode
from plasm_core.records import JobInput, PeerId, Verdict
from plasm_core.records.digest import decode_list
from plasm_core.records.manifest import MAX_MANIFEST_BYTES
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.plan import MAX_EXECUTIONS
from plasm_core.reexecution import NodeLaboratory
from plasm_core.verification import Answer, Expectation, verify_all

_MAX_LIST_BYTES = 1 << 24


@attrs.frozen(kw_only=True)
class Checked:
    """The verdict over all receipts of one task in a bundle, and the problems of their files."""

    names: tuple[str, ...]
    verdict: Verdict
    problems: tuple[str, ...] = ()


def check(
    archive: Archive, node: LocalNode, trusted: frozenset[PeerId], *, reexecute: bool
) -> Iterator[Checked]:
    """Yield the verdict on each task in a bundle. `reexecute`: let the verifiers run the tasks again."""
    tasks: dict[str, list[str]] = {}
    for name, item in archive.receipts.items():
        tasks.setdefault(item.receipt.asked.task_digest, []).append(name)
    for names in tasks.values():
        for start in range(0, len(names), MAX_EXECUTIONS):
            yield _check(archive, node, names[start : start + MAX_EXECUTIONS], trusted, reexecute)


def _check(
    archive: Archive, node: LocalNode, names: Sequence[str], trusted: frozenset[PeerId], reexecute: bool
) -> Checked:
    problems = []
    answers = []
    for name in names:
        item = archive.receipts[name]
        problems += [
            f"the {role} is not in the bundle: sha256 {digest}"
            for role, digest in item.digests.items()
            if digest not in archive.sizes
        ]
        here = {role: digest for role, digest in item.digests.items() if digest in archive.sizes}
        job_id = item.receipt.asked.job_id
        expectation = Expectation(
            trusted=trusted,
            manifest_json=archive.read(job_id, MAX_MANIFEST_BYTES) if job_id in archive.sizes else None,
            module=here.get("module"),
            args=here.get("args"),
            env=here.get("env"),
            stdin=here.get("stdin"),
            outputs={
                stream: OutputDigest(size_bytes=archive.sizes[here[stream.label]], sha256=here[stream.label])
                for stream in OutputStream
                if stream.label in here
            },
        )
        answers.append(Answer(envelope_json=item.envelope_json, expectation=expectation))
    digests = archive.receipts[names[0]].digests

    def load() -> tuple[bytes, JobInput]:
        module = archive.read(digests["module"], node.config.admission.module_bytes)
        return module, JobInput(
            args=decode_list(archive.read(digests["args"], _MAX_LIST_BYTES)),
            env=decode_list(archive.read(digests["env"], _MAX_LIST_BYTES)),
            stdin=archive.read(digests["stdin"], MAX_STREAM_BYTES),
        )

    laboratory = NodeLaboratory(node, load) if reexecute and not problems else None
    _, verdict = verify_all(answers, node.verifiers, laboratory=laboratory)
    return Checked(names=tuple(names), verdict=verdict, problems=tuple(dict.fromkeys(problems)))
