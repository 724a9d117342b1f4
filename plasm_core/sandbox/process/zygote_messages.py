"""The messages between a zygote and the process that holds it."""

from __future__ import annotations

READY_BYTES = 65_536
MAX_BATCH = 64
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
"""The number of clone(2) on the processor architectures that zygotes run on."""


def pack_ready(missing: dict[str, str]) -> bytes:
    """Encode a zygote's first message: the sandbox layers that it lacks, with the reasons."""
    texts = ["ready"]
    for layer, reason in missing.items():
        texts += [layer, reason]
    return "\0".join(texts).encode("utf-8", "replace")


def unpack_ready(data: bytes) -> dict[str, str]:
    """Decode a zygote's first message. Raises: ValueError."""
    word, *rest = data.decode("utf-8", "replace").split("\0")
    if word != "ready" or len(rest) % 2:
        raise ValueError("a zygote that is not ready")
    return dict(zip(rest[::2], rest[1::2], strict=True))


def pack_pids(pids: list[int]) -> bytes:
    """Encode the process ids of a batch of workers.

    The result is never empty, which would mean the end of the stream.
    """
    return " ".join(["forked", *map(str, pids)]).encode()


def unpack_pids(data: bytes) -> list[int]:
    """Decode the process ids of a batch of workers. Raises: ValueError."""
    return [int(text) for text in data.split()[1:]]
