"""Store rejected receipts and claims as evidence against the node that signed or sent them."""

from __future__ import annotations

import json
import logging
import os
import secrets
from datetime import datetime, timezone
from pathlib import Path

from plasm_core.paths import private_directory, state_directory
from plasm_core.records.peer import PeerId

log = logging.getLogger(__name__)

MAX_FILES = 64
MAX_BYTES = 512 << 10


def keep(
    peer: PeerId, job_id: str, reason: str, envelope: str, *, directory: Path | None = None
) -> Path | None:
    """Store an envelope that a node sent, and return its file; None if it cannot be stored.

    At most `MAX_FILES` are kept, the latest, so that a lying node cannot fill the disk.
    """
    record = {
        "node": str(peer),
        "jobId": job_id,
        "reason": reason[:2000],
        "receivedAt": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "envelope": envelope,
    }
    data = json.dumps(record, indent=2).encode()
    if len(data) > MAX_BYTES:
        data = json.dumps({**record, "envelope": None, "envelopeBytes": len(envelope)}, indent=2).encode()
    place = directory or state_directory() / "evidence"
    path = place / f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S%f}-{job_id[:12]}-{secrets.token_hex(4)}.json"
    try:
        private_directory(place)
        for old in sorted(place.glob("*.json"))[: -(MAX_FILES - 1)]:
            old.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError as exc:
        log.warning("evidence not kept node=%s job=%s reason=%s", peer, job_id, exc.strerror)
        return None
    log.warning("evidence kept node=%s job=%s file=%s", peer, job_id, path)
    return path
