"""Writes tests/vectors/protocol.json: messages, and frames of data, as objects and as bytes.

Those of jobs with files are in `file_transfer.json`.

    python tests/vectors/generate_protocol.py

The bytes are what this implementation sends. Another may order fields differently and space them as it likes;
what must be equal is what the bytes are read as.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs

from plasm_core.protocol import messages as m
from plasm_core.protocol.channels import OUTPUTS, UPLOADS, Channel
from plasm_core.protocol.frames import MAX_DATA_BYTES, control_frame, data_frame
from plasm_core.records import sha256
from plasm_core.records.job import JobState

HERE = Path(__file__).parent
PEER = "12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB"
JOB = sha256(b"job")
TOKEN = sha256(b"token")
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc)


def _messages() -> Iterator[tuple[str, m.Message]]:
    sizes = m.Uploads(module=104_857_600, args=13, env=0, stdin=12)
    none = m.Uploads(module=0, args=0, env=0, stdin=0)
    credit = m.Outputs(stdout=1_048_576, stderr=65_536)
    queued = m.Status(
        state=JobState.QUEUED, attempt=0, position=3, stdout_bytes=0, stderr_bytes=0, accepted_at=MOMENT
    )
    running = m.Status(
        state=JobState.RUNNING,
        attempt=1,
        stdout_bytes=12,
        stderr_bytes=0,
        accepted_at=MOMENT,
        started_at=MOMENT,
    )
    ended = m.Status(
        state=JobState.COMPLETE,
        attempt=1,
        stdout_bytes=13,
        stderr_bytes=0,
        accepted_at=MOMENT,
        started_at=MOMENT,
        finished_at=MOMENT,
        expires_at=MOMENT,
        outcome="exited",
    )
    yield "client", m.Submit(manifest='{"é":"\\u00e9/\n"}', token=TOKEN, sizes=sizes, credit=credit)
    yield (
        "client",
        m.Attach(job_id=JOB, token=TOKEN, credit=credit, offsets=m.Outputs(stdout=5, stderr=0), attempt=1),
    )
    for cls in (m.AskStatus, m.Cancel, m.Release):
        yield "client", cls(job_id=JOB, token=TOKEN)
    yield "client", m.AskCapabilities()
    yield "client", m.Possession(proof=sha256(bytes(32) + b"module"))
    yield "client", m.Credit(channel="stdout", upto=2**53 - 1, attempt=1)
    yield "client", m.Heartbeat()
    yield "client", m.Error(code="protocol", message="an unknown message")
    yield "client", m.AskStatus(job_id=JOB, token=TOKEN, keep=True)
    yield (
        "client",
        m.Submit(manifest="{}", token=TOKEN, sizes=none, credit=m.NOTHING, keep=True, follow=False),
    )
    yield "node", m.Hello(peer=PEER, agent="plasm/0.1.0")
    yield "node", m.Hello(peer=PEER, agent="plasm/0.2.0", keep_s=5)
    yield "node", m.Offered(job_id=JOB, expires_s=60, challenge="00" * 32, received=none, credit=sizes)
    yield "node", m.Possessed(known=True)
    yield "node", m.Possessed(known=False)
    yield "node", m.Progress(phase="compiling")
    yield "node", m.Accepted(job_id=JOB, status=queued)
    yield "node", m.Attached(job_id=JOB, status=running)
    yield "node", m.State(status=running)
    handed_on = attrs.evolve(ended, node=PEER)
    yield "node", m.StatusIs(job_id=JOB, status=handed_on)
    yield "node", m.Result(status=ended, envelope='{"payload":"e30="}')
    yield "node", m.StatusIs(job_id=JOB, status=ended)
    yield "node", m.Capabilities(envelope='{"payload":"e30="}')
    yield (
        "node",
        m.Refused(reason="queue_full", message="1000 jobs are waiting", hint="ask again", retry_after_s=7),
    )
    yield "node", m.Refused(reason="unknown_job", message="no such job")
    yield "node", m.Credit(channel="module", upto=2_097_152)
    yield "node", m.Heartbeat()
    yield "node", m.Error(code="timeout", message="nothing came for 30 s")


def _data() -> Iterator[tuple[str, Channel, int, bytes]]:
    for channel in (*UPLOADS, *OUTPUTS):
        yield "client" if channel < Channel.STDOUT else "node", channel, 0, b"x"
    yield "client", Channel.MODULE, 2**40, bytes(range(256))
    yield "node", Channel.STDERR, 2**53 - 2, b"\x00"


_REFUSED = {
    "no length": "00000000",
    "an unknown type": "0000000102",
    "a control frame that is too long": "0002000200",
    "a control frame without a body": "0000000100",
    "a data frame that is too long": "0001000b01",
    "a data frame without bytes": "0000000a01" + "05" + "00" * 8,
    "a channel that is none": "0000000b01" + "63" + "00" * 8 + "78",
    "no object": (6).to_bytes(4, "big").hex() + "00" + b"[1,2]".hex(),
    "no type": (3).to_bytes(4, "big").hex() + "00" + b"{}".hex(),
}


def generate() -> dict[str, Any]:
    """Return the vectors."""
    refused = {name: bytes.fromhex(frame) for name, frame in _REFUSED.items()}
    for body, name in (
        (b'{"type":"heartbeat","type":"heartbeat"}', "a key twice"),
        (b'{"type":"dance"}', "an unknown message"),
        (b'{"type":"heartbea\xff"}', "no UTF-8"),
        (b'{"type":"heartbeat","x":[' + b"[]," * 499 + b"[]]}", "too many values"),
        (b'{"type":"heartbeat","x":[' + b'"",' * 1000 + b'""]}', "too many strings"),
        (b'{"type":"heartbeat"' + b"".join(b',"%d":0' % n for n in range(1000)) + b"}", "too many fields"),
    ):
        refused[name] = (1 + len(body)).to_bytes(4, "big") + b"\0" + body
    return {
        "protocol": "/phase/job/1.0.0",
        "max_control_bytes": m.MAX_CONTROL_BYTES,
        "max_data_bytes": MAX_DATA_BYTES,
        "messages": [
            {"from": side, "message": m.encode(message), "frame_hex": control_frame(message).hex()}
            for side, message in _messages()
        ],
        "data": [
            {
                "from": side,
                "channel": channel.label,
                "number": int(channel),
                "offset": offset,
                "data_hex": data.hex(),
                "frame_hex": data_frame(channel, offset, data).hex(),
            }
            for side, channel, offset, data in _data()
        ],
        "refused": [{"why": name, "frame_hex": frame.hex()} for name, frame in refused.items()],
        "possession": {
            "challenge": "00" * 32,
            "module_hex": b"module".hex(),
            "proof": sha256(bytes(32) + b"module"),
        },
    }


if __name__ == "__main__":
    (HERE / "protocol.json").write_text(json.dumps(generate(), indent=1) + "\n")
