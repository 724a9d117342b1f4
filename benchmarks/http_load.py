"""What listeners, a slow reader and an aborted upload cost the web server: memory, and other requests' latency.

    python -m benchmarks.http_load

A real `plasm web` and plasmd; the listeners follow one running job by server-sent events.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.receipts import ROOT
from tests.support.wat import starting, writing
from tests.support.web_server import WebServer

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
COPY = (ROOT / "plasm_core" / "testing" / "modules" / "files.wasm").read_bytes()
FOR_EVER = starting("(loop $l (br $l))")
MIB = 1 << 20
AT_ONCE = 50
"""Listeners that ask at once: a daemon that has 6 s to answer each has few processor seconds on a busy machine."""


def say(*words: object) -> None:
    """Print a line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


def peak_mib(pid: int) -> float:
    """Return the largest resident memory since the last call of `forget_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(pid)


def forget_peak(pid: int) -> None:
    """Begin a new peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def latencies(web: WebServer, count: int = 40) -> str:
    """Return the median and the worst latency of a request that asks the daemon, in ms."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        assert web.ask("GET", "/readyz", token=None).status == 200
        found.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(found):.0f} ms median, {max(found):.0f} ms worst of {count}"


def request(web: WebServer, head: str) -> socket.socket:
    """Open a connection and send a request's head."""
    sock = socket.create_connection(("127.0.0.1", web.port), timeout=60)
    sock.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {web.page_token}\r\n".encode())
    return sock


def show(web: WebServer, what: str) -> None:
    """Print where the two processes stand."""
    assert web.process is not None
    assert web.daemon.process is not None
    server, daemon = web.process.pid, web.daemon.process.pid
    say(
        f"{what}: server {resident_mib(server):.0f} MiB (peak {peak_mib(server):.0f}), "
        f"daemon {resident_mib(daemon):.0f} MiB; GET /readyz {latencies(web)}"
    )


@contextlib.contextmanager
def listening(web: WebServer, path: str, count: int) -> Iterator[int]:
    """Have listeners follow a job; `AT_ONCE` come together. Yields how many had to ask again after a 503."""
    with contextlib.ExitStack() as stack:
        following = again = 0
        while following < count:
            asked = min(AT_ONCE, count - following)
            socks = [stack.enter_context(request(web, f"GET {path}/events")) for _ in range(asked)]
            for sock in socks:
                sock.sendall(b"\r\n")
            came = sum(map(follows, socks))
            following, again = following + came, again + asked - came
        yield again


def follows(sock: socket.socket) -> bool:
    """Wait for the first event; return whether it came, and not a problem."""
    data = b""
    while b"event: status" not in data:
        piece = sock.recv(65536)
        data += piece
        if not piece or b"HTTP/1.1 503" in data:
            sock.close()
            return False
    return True


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listeners", type=int, default=500)
    parser.add_argument("--strangers", type=int, default=10_000)
    parser.add_argument("--only-strangers", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home)) as daemon:
        daemon.start()
        with WebServer(daemon, "--connections", "2048") as web:
            web.start()
            if not options.only_strangers:
                measure(web, options.listeners)
        with WebServer(daemon) as web:
            web.start()
            strangers(web, options.strangers)


def strangers(web: WebServer, count: int) -> None:
    """Open many connections without a token, half of them in the middle of a head, and leave them open."""
    assert web.process is not None
    least = count + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(least, hard)), hard))
    web.submit([("module", HELLO)], wait_s=60)
    show(web, "at rest, 1024 connections at most")
    with contextlib.ExitStack() as stack:
        began, most = time.monotonic(), 0
        for number in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=60))
            if number % 2:
                with contextlib.suppress(OSError):
                    sock.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: loc")
            if number % 500 == 0:
                most = max(most, open_sockets(web.process.pid))
        took = time.monotonic() - began
        most = max(most, open_sockets(web.process.pid))
        say(
            f"{count:,} connections were opened in {took:.1f} s and left open; the server had at most {most} files open"
        )
        show(web, f"beside {count:,} connections of strangers")
        job = web.submit([("module", HELLO), ("args", b"still")], wait_s=60)
        say(f"a job submitted beside them: {job.status} {job.json['state']}")
    show(web, "after they left")


def open_sockets(pid: int) -> int:
    """Return how many files a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def measure(web: WebServer, listeners: int) -> None:
    """Measure the listeners, then the slow reader, the uploads, and files."""
    assert web.process is not None
    web.submit([("module", HELLO)], wait_s=60)
    show(web, "at rest")
    path = web.submit([("module", FOR_EVER), ("job", b'{"wall_time_s": 600, "gas": 1000000000000000}')])
    job = path.headers["location"]
    for turn in (1, 2, 3):
        began = time.monotonic()
        with listening(web, job, listeners) as again:
            took = time.monotonic() - began
            say(
                f"{listeners} listeners came in {took:.1f} s"
                + (f", {again} again after a 503" if again else "")
            )
            show(web, f"{listeners} listeners, turn {turn}")
            time.sleep(20)
            show(web, f"{listeners} listeners, 20 s later")
        show(web, "after they left")
    web.ask("DELETE", job)
    forget_peak(web.process.pid)
    slow_reader(web)
    forget_peak(web.process.pid)
    for part in ('name="stdin"', 'name="file"; filename="in/data"'):
        for turn in (1, 2, 3):
            aborted_upload(web, part)
            show(web, f"after an upload of 100 MiB as {part.split(';')[0]} that broke off, turn {turn}")
    forget_peak(web.process.pid)
    large_files(web)


def slow_reader(web: WebServer) -> None:
    """Have a client read 50 MiB of output by a few bytes a second."""
    loud = writing(b"x" * 60_000, times=900)
    job = web.submit(
        [("module", loud), ("job", b'{"output_bytes": 100000000, "gas": 1000000000000}')], wait_s=60
    ).json
    say(f"a job with {job['stdoutBytes'] / MIB:.0f} MiB of output: {job['state']}")
    forget_peak(web.process.pid if web.process else 0)
    with request(web, f"GET /v1/jobs/{job['jobId']}/stdout") as sock:
        sock.sendall(b"\r\n")
        for _ in range(20):
            sock.recv(100)
            time.sleep(0.5)
        show(web, "with a reader of 200 bytes/s")
    began = time.perf_counter()
    body = web.ask("GET", f"/v1/jobs/{job['jobId']}/stdout").body
    say(f"the same read at once: {len(body) / MIB / (time.perf_counter() - began):.0f} MiB/s")
    show(web, "after it")


def large_files(web: WebServer) -> None:
    """Have a job copy a file of 200 MiB, name it again without sending it, and read the copy."""
    given = [
        ("module", COPY),
        ("files", b'{"outputs": ["out/"], "limits": {"data_bytes": 300000000}}'),
        ("job", b'{"gas": 1000000000000, "memory_bytes": 1073741824}'),
    ]
    began = time.perf_counter()
    job = web.submit([*given, ("file:in/data", bytes(200 * MIB))], wait_s=60)
    say(f"a job with a file of 200 MiB: {job.json['outcome']} after {time.perf_counter() - began:.1f} s")
    show(web, "after it was sent")
    began = time.perf_counter()
    tree = job.json["files"]["tree"].encode()
    again = web.submit([*given, ("treeDigest", tree)], wait_s=60)
    say(f"the same tree by its digest: {again.json['outcome']} after {time.perf_counter() - began:.1f} s")
    began = time.perf_counter()
    body = web.ask("GET", f"{job.headers['location']}/files/out/copy").body
    say(f"its copy read: {len(body) / MIB / (time.perf_counter() - began):.0f} MiB/s")
    show(web, "after it")
    paths = [("module", COPY), ("outputs", b"."), *((f"file:in/{number}", b"x") for number in range(5000))]
    many = web.submit([*paths, ("file:in/data", b"x"), ("file:out/", b"")], wait_s=60).headers["location"]
    began = time.perf_counter()
    for number in range(20):
        assert web.ask("GET", f"{many}/files/in/{number}").body == b"x"
    say(f"one file of 5,000 is read in {(time.perf_counter() - began) / 20 * 1000:.0f} ms")
    began = time.perf_counter()
    web.ask("GET", f"{many}/files?limit=10000")
    say(f"5,000 files are listed in {(time.perf_counter() - began) * 1000:.0f} ms")
    show(web, "after 5,000 files")


def aborted_upload(web: WebServer, part: str) -> None:
    """Send 100 MiB of a part, and break off."""
    boundary = secrets.token_hex(8)
    with request(web, "POST /v1/jobs") as sock:
        sock.sendall(
            f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {200 * MIB}\r\n\r\n"
            f"--{boundary}\r\nContent-Disposition: form-data; {part}\r\n\r\n".encode()
        )
        piece = os.urandom(MIB)
        for _ in range(100):
            sock.sendall(piece)


if __name__ == "__main__":
    main()
