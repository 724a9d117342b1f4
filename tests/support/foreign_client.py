"""A client of the job protocol, written from docs/protocol.md alone: it uses Python's library and nothing else.

`foreign_client.py SOCKET MODULE [ARGUMENT...]` runs a job with the standard input it is given, and prints
what became of it as JSON. `--again HANDLE` follows a job that was submitted before, `--cut N` leaves after
N bytes of the upload and comes back.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import os
import socket
import struct
import sys
import time
from typing import Any

Json = dict[str, Any]

LINE = b"/phase/job/1.0.0\n"
UPLOADS = {"module": 1, "args": 2, "env": 3, "stdin": 4}
OUTPUTS = {5: "stdout", 6: "stderr"}
MOST = 65_536
WINDOW = 100_000
SILENCE_S = 30
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class Failed(Exception):
    """The node did not do its part."""


class Stream:
    """Frames over a Unix socket."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(SILENCE_S)
        self.sock.connect(path)
        self.sock.sendall(LINE)
        self.sent_at = time.monotonic()
        if self._exactly(len(LINE)) != LINE:
            raise Failed("it does not speak the protocol")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise Failed("it closed")
            data += more
        return data

    def _frame(self, kind: int, body: bytes) -> None:
        self.sock.sendall(struct.pack(">IB", 1 + len(body), kind) + body)
        self.sent_at = time.monotonic()

    def say(self, type_: str, **fields: Any) -> None:
        """Send a message."""
        self._frame(0, json.dumps({"type": type_, **fields}).encode())

    def send(self, channel: str, offset: int, data: bytes) -> None:
        """Send bytes of a channel."""
        self._frame(1, struct.pack(">BQ", UPLOADS[channel], offset) + data)

    def hear(self) -> Json | tuple[str, int, bytes]:
        """Return the next message, or a channel's name, offset and bytes. Heartbeats are answered in kind."""
        while True:
            if time.monotonic() > self.sent_at + 10:
                self.say("heartbeat")
            (length,) = struct.unpack(">I", self._exactly(4))
            (kind,) = self._exactly(1)
            if kind == 1 and 10 <= length - 1 <= 9 + MOST:
                channel, offset = struct.unpack(">BQ", self._exactly(9))
                return OUTPUTS[channel], offset, self._exactly(length - 10)
            if kind != 0 or length > 131_073:
                raise Failed(f"a frame of type {kind} and length {length}")
            message: Json = json.loads(self._exactly(length - 1))
            if message["type"] in ("error", "refused"):
                raise Failed(json.dumps(message))
            if message["type"] != "heartbeat":
                return message


def peer_bytes(text: str) -> bytes:
    """Decode a PeerId (base58btc) to its multihash."""
    number = 0
    for letter in text:
        number = number * 58 + ALPHABET.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def list_encoding(items: list[bytes]) -> bytes:
    """Encode arguments or an environment."""
    return b"".join(struct.pack("<Q", len(item)) + item for item in items)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_manifest(content: dict[str, bytes]) -> str:
    """Write a manifest for some content."""
    return json.dumps(
        {
            "format": "phase.manifest/v0",
            "profile": "plasm.det/v1",
            **{name: sha256(content[name]) for name in UPLOADS},
            "seed": "00" * 32,
            "limits": {"gas": 10**10, "memory_bytes": 256 << 20, "output_bytes": 64 << 20},
            "wall_time_s": 60,
            "cpu": 1,
            "capabilities": [],
            "retry": {"attempts": 3},
            "nonce": os.urandom(16).hex(),
        }
    )


class Job:
    """One job: what was handed in, and what came of it."""

    def __init__(self, path: str, job_id: str, secret: bytes) -> None:
        self.path, self.job_id, self.secret = path, job_id, secret
        self.peer = ""
        self.output = {"stdout": b"", "stderr": b""}
        self.attempt = 0
        self.received: Json = {}

    def open(self) -> Stream:
        """Open a stream and take the node's introduction."""
        stream = Stream(self.path)
        hello = stream.hear()
        if not isinstance(hello, dict) or hello["type"] != "hello":
            raise Failed(f"expected hello, got {hello}")
        self.peer = hello["peer"]
        return stream

    @property
    def token(self) -> str:
        return hmac.new(self.secret, peer_bytes(self.peer), hashlib.sha256).hexdigest()

    @property
    def handle(self) -> str:
        body = bytes.fromhex(self.job_id) + self.secret + peer_bytes(self.peer)
        whole = body + hashlib.sha256(body).digest()[:4]
        return "phase0-" + base64.urlsafe_b64encode(whole).decode().rstrip("=")

    def submit(self, manifest: str, content: dict[str, bytes], cut: int | None) -> Json | None:
        """Hand the job in and follow it to its result. None if it left after `cut` bytes."""
        stream = self.open()
        stream.say(
            "submit",
            manifest=manifest,
            token=self.token,
            sizes={name: len(content[name]) for name in UPLOADS},
            credit={"stdout": WINDOW, "stderr": WINDOW},
        )
        offered = stream.hear()
        if not isinstance(offered, dict):
            raise Failed("output before an answer")
        if offered["type"] == "offered":
            if offered["job_id"] != self.job_id:
                raise Failed("another job id")
            self.received = offered["received"]
            if not self._upload(stream, offered, content, cut):
                return None
        return self._follow(stream)

    def _upload(self, stream: Stream, offered: Json, content: dict[str, bytes], cut: int | None) -> bool:
        at, credit = dict(offered["received"]), dict(offered["credit"])
        left = sum(len(content[name]) - at[name] for name in UPLOADS) if cut is None else cut
        if cut is None and not at["module"] and content["module"]:
            challenge = bytes.fromhex(offered["challenge"])
            stream.say("possession", proof=sha256(challenge + content["module"]))
            while ((answer := stream.hear()) and not isinstance(answer, dict)) or answer[
                "type"
            ] != "possessed":
                pass
            if answer["known"]:
                left -= len(content["module"])
                at["module"] = len(content["module"])
        while left > 0:
            ready = [name for name in UPLOADS if at[name] < min(credit[name], len(content[name]))]
            if not ready:
                message = stream.hear()
                if isinstance(message, dict) and message["type"] == "credit":
                    credit[message["channel"]] = message["upto"]
                continue
            name = ready[0]
            data = content[name][at[name] : min(at[name] + MOST, credit[name], at[name] + left)]
            stream.send(name, at[name], data)
            at[name] += len(data)
            left -= len(data)
        return cut is None

    def attach(self) -> Json:
        """Follow the job from what there is of its output."""
        stream = self.open()
        offsets = {name: len(data) for name, data in self.output.items()}
        stream.say(
            "attach",
            job_id=self.job_id,
            token=self.token,
            credit={name: offset + WINDOW for name, offset in offsets.items()},
            offsets=offsets,
            attempt=self.attempt,
        )
        return self._follow(stream)

    def _follow(self, stream: Stream) -> Json:
        while True:
            heard = stream.hear()
            if isinstance(heard, tuple):
                name, offset, data = heard
                if offset != len(self.output[name]):
                    raise Failed("a gap")
                self.output[name] += data
                upto = len(self.output[name]) + WINDOW
                with contextlib.suppress(BrokenPipeError):  # it may have said all
                    stream.say("credit", channel=name, upto=upto, attempt=self.attempt)
                continue
            if "status" in heard and heard["status"]["attempt"] != self.attempt:
                self.attempt = heard["status"]["attempt"]
                self.output = {"stdout": b"", "stderr": b""}
            if heard["type"] == "result":
                return self.checked(heard)

    def checked(self, result: Json) -> Json:
        """Hold the receipt against what is known. Its signature is for those who have Ed25519."""
        envelope = json.loads(result["envelope"])
        statement = json.loads(base64.b64decode(envelope["payload"], validate=True))
        predicate = statement["predicate"]
        digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        expected = {name: sha256(data) for name, data in self.output.items()}
        if predicate["asked"]["jobId"] != self.job_id:
            raise Failed("the receipt is another job's")
        if predicate["node"]["peerId"] != self.peer:
            raise Failed("the receipt is another node's")
        if digests != expected:
            raise Failed("the output is not the receipt's")
        return {
            "handle": self.handle,
            "job_id": self.job_id,
            "state": result["status"]["state"],
            "outcome": predicate["result"]["outcome"],
            "stdout": self.output["stdout"].decode(),
            "stderr": self.output["stderr"].decode(),
            "received": self.received,
        }


def _parse(handle: str) -> tuple[str, bytes]:
    encoded = handle.removeprefix("phase0-")
    whole = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    if hashlib.sha256(whole[:-4]).digest()[:4] != whole[-4:]:
        raise Failed("a mistyped handle")
    return whole[:32].hex(), whole[32:64]


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--again", metavar="HANDLE")
    parser.add_argument("--cut", type=int)
    options = parser.parse_args()
    if options.again:
        job = Job(options.socket, *_parse(options.again))
        sys.stdout.write(json.dumps(job.attach()))
        return
    with open(options.module, "rb") as file:
        module = file.read()
    content = {
        "module": module,
        "args": list_encoding([os.fsencode(item) for item in options.arguments]),
        "env": list_encoding([]),
        "stdin": sys.stdin.buffer.read(),
    }
    manifest = make_manifest(content)
    job = Job(options.socket, sha256(manifest.encode()), os.urandom(32))
    if options.cut is not None:
        job.submit(manifest, content, options.cut)
    result = job.submit(manifest, content, None)
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
