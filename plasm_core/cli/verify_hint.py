"""What `plasm verify` needs of a job's files, if it was given others or none."""

from __future__ import annotations

from plasm_core.records import Decision, Receipt, Verdict


def files_hint(verdict: Verdict, receipt: Receipt | None, tree: str | None, *, runs: bool) -> str | None:
    """Return which options about files a receipt speaks of, None if files are not what is missing.

    `tree`: the digest of the input tree that was given. `runs`: whether the task was to be run again.
    """
    if receipt is None or verdict.decision is Decision.ACCEPT:
        return None
    asked = receipt.asked.files
    if asked is None:
        return None if tree is None else "the job had no files: leave out --file, --dir, --tree and --out"
    if tree == asked.tree or (tree is None and not runs):
        return None
    kinds = {item.path: item.kind for item in receipt.files}
    stated = [f"--dir HOST:{path}" for path in asked.read_only]
    stated += [f"--out {path}" + ("/" if kinds.get(path) == "tree" else "") for path in asked.outputs]
    named = f"; the receipt states {' '.join(stated)}" if stated else ""
    return f"give the --file, --dir, --tree and --out that the job was given{named}"
