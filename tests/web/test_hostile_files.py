"""Clients and jobs that mean harm by files: paths, names, archives and sizes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import secrets
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

import pytest

from plasm_core.client.remote_files import LeftEntry
from plasm_core.records.files import Product
from plasm_core.testing.bench import MODULES
from plasm_core.tree_listing import FILE, TreeEntry, encode
from plasm_core.web.bearer_tokens import LOCAL_USER, BearerToken
from plasm_core.web.forms import MAX_PARTS
from plasm_core.web.left_files import RecentListings
from plasm_core.web.problems import ApiProblem
from plasm_core.web.upload_room import UploadRoom
from tests.support import processes
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.wat import starting
from tests.support.web_server import WebServer
from tests.web.test_hostile_clients import HEAD, descriptors, dialled, exchange, is_well, statuses

COPY = (MODULES / "files.wasm").read_bytes()
NOTHING = starting("")
MOST = 1_000_000
NAMES = (
    'a"b; filename="c.html',
    "<script>alert(1).html",
    "a\r\nSet-Cookie: x=y",
    "%2e%2e%2fpasswd",
    "..\\..\\passwd",
    "...",
    "ü €.txt",
    "a?b#c;d",
    "x" * 255,
)
"""What a job may call its files."""


@pytest.fixture(scope="module")
def strict(daemon: Daemon) -> Iterator[WebServer]:
    """A server that takes `MOST` bytes of files."""
    with WebServer(daemon, "--set", f"limits.tree_bytes={MOST}") as made:
        yield made.start()


def tar_of(names: tuple[str, ...], compression: str = "", data: bytes = b"1") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


@pytest.fixture(scope="module")
def job(web: WebServer) -> str:
    """The path of a job that has left files of hostile names."""
    archive = tar_of(tuple(f"in/{name}" for name in NAMES))
    answer = web.submit([("module", NOTHING), ("tree", archive), ("outputs", b".")], wait_s=60)
    assert answer.json["state"] == "COMPLETE", answer.body
    return answer.headers["location"]


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "//", ".", "..", "in", "in/", "in/..", "in/../in/...", "./in/...", "in//...", "in/.../"),
        *("/in/...", "in/...%00", "in/...%00.txt", "in/...?", "in/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        *("..%2f..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "../receipt", "../../../../etc/passwd"),
        *("in\\...", "%ff%fe", "in/%c0%ae%c0%ae", "in/" + "a" * 5000, "in/..." + "%20", "IN/...", "tmp"),
    ],
)
def test_a_path_names_a_file_of_the_listing_and_nothing_else(web: WebServer, job: str, path: str) -> None:
    head = f"GET {job}/files/{path} HTTP/1.1\r\n".encode()
    said = exchange(web, head + HEAD % web.page_token.encode() + b"Connection: close\r\n\r\n")

    if path.endswith("?"):  # an empty query, which names the file itself
        assert statuses(said) == [200]
        return
    assert statuses(said) == [404], said[:300]
    assert b"root:" not in said
    assert b"application/problem+json" in said


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_job_changes_no_header_and_is_read_by_its_path(
    web: WebServer, job: str, name: str
) -> None:
    answer = web.ask("GET", f"{job}/files/in/{quote(name, safe='')}")

    assert (answer.status, answer.body) == (200, b"1")
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-type"] == "application/octet-stream"
    given = answer.headers["content-disposition"]
    assert given.startswith('attachment; filename="')
    assert given.endswith(f"; filename*=UTF-8''{quote(name, safe='')}")
    assert given.count('"') == 2
    assert given.isascii()


@pytest.mark.parametrize("name", ["file:in/data", "tree", "pack"])
def test_more_bytes_than_a_job_may_have_are_refused_while_they_come(strict: WebServer, name: str) -> None:
    before = descriptors(strict)

    answer = strict.submit([("module", COPY), (name, bytes(MOST + 1))])

    assert (answer.status, answer.json["code"]) == (413, "too_large")
    # One may be of a question to the daemon, which the server asks by itself now and then.
    assert processes.wait_until(lambda: descriptors(strict) <= before + 1, timeout_s=DEADLINE_S)


def test_the_parts_of_a_form_count_together(strict: WebServer) -> None:
    half = bytes(MOST // 2 + 1)

    answer = strict.submit([("module", COPY), ("file:a", half), ("tree", half)])

    assert (answer.status, answer.json["code"]) == (413, "too_large")


def zip_bomb() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(50 * MOST))
    return packed.getvalue()


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zip"])
def test_an_archive_that_grows_is_refused_before_it_is_unpacked(strict: WebServer, compression: str) -> None:
    archive = zip_bomb() if compression == "zip" else tar_of(("zeros",), compression, bytes(50 * MOST))
    assert len(archive) < MOST

    answer = strict.submit([("module", COPY), ("tree", archive)])

    assert (answer.status, answer.json["code"]) == (422, "bad_files")
    assert f"more than {MOST} bytes" in answer.json["detail"]


def test_a_pack_that_names_one_blob_many_times_is_refused(strict: WebServer) -> None:
    """A megabyte would be a tree of gigabytes."""
    data = bytes(MOST // 2)
    digest = hashlib.sha256(data).digest()
    listing = encode(
        TreeEntry(f"{number:04}".encode(), FILE, size=len(data), digest=digest) for number in range(1000)
    )

    answer = strict.submit([("module", COPY), ("pack", len(listing).to_bytes(4, "little") + listing + data)])

    assert (answer.status, answer.json["code"]) == (422, "bad_files")


def test_parts_and_their_names_are_bounded(web: WebServer) -> None:
    many = [(f"file:{number}", b"") for number in range(MAX_PARTS + 1)]
    long = [(f"file:{number}/" + "n/" * 480, b"") for number in range(MAX_PARTS - 10)]

    for parts in (many, long):
        answer = web.submit([*parts, ("module", COPY)])
        assert (answer.status, answer.json["code"]) == (413, "too_large")
    few = web.submit([*many[:5000], ("module", NOTHING)], wait_s=60)
    assert few.json["state"] == "COMPLETE"
    assert is_well(web)


def test_files_that_break_off_leave_nothing(web: WebServer) -> None:
    before = descriptors(web)
    spools = Path(web.daemon.environ["XDG_CACHE_HOME"]) / "plasm" / "web-uploads"
    for name in ("file", "tree", "pack") * 5:
        with dialled(web) as sock:
            head = b"POST /v1/jobs HTTP/1.1\r\n" + HEAD % web.page_token.encode()
            head += (
                b"Content-Length: 100000000\r\nContent-Type: multipart/form-data; boundary=bbbb\r\n\r\n--bbbb"
            )
            part = f'\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
            sock.sendall(head + part.encode() + b"x" * (3 << 20))

    deadline = time.monotonic() + DEADLINE_S
    while descriptors(web) > before + 2:
        assert time.monotonic() < deadline, "files of broken uploads stay open"
        time.sleep(0.05)
    assert list(spools.iterdir()) == []
    assert is_well(web)


def test_many_clients_send_and_read_files_at_once(web: WebServer) -> None:
    """Many clients send the same and other files at the same moment, and each gets its own bytes back."""
    found: list[tuple[bytes, bytes]] = []

    def one(number: int) -> None:
        content = secrets.token_bytes(100_000) if number % 2 else b"the same" * 10_000
        parts = [("module", COPY), ("outputs", b"out/"), ("file:in/data", content)]
        answer = web.submit(parts, wait_s=60)
        tree = answer.json["files"]["tree"].encode()
        again = web.submit([("module", COPY), ("outputs", b"out"), ("treeDigest", tree)], wait_s=60).headers[
            "location"
        ]
        for path in (answer.headers["location"], again):
            web.ask("GET", f"{path}/files")
            found.append((content, web.ask("GET", f"{path}/files/out/copy").body))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 16
    assert all(sent == received for sent, received in found)
    assert is_well(web)


def token() -> BearerToken:
    return BearerToken(
        name="a", scopes=("submit",), sha256=secrets.token_hex(32), made_at=datetime.now(timezone.utc)
    )


def test_the_room_for_files_is_shared_and_given_back() -> None:
    room, greedy, modest = UploadRoom(100), token(), token()
    with contextlib.ExitStack() as stack:
        stack.enter_context(room.place(greedy, 1000)).receive(75)
        with pytest.raises(ApiProblem, match="already") as caught:
            stack.enter_context(room.place(greedy, 1000)).take(1)
        assert (caught.value.status, caught.value.code) == (429, "too_many_uploads")
        stack.enter_context(room.place(modest, 1000)).receive(25)
        with pytest.raises(ApiProblem, match="already"):
            stack.enter_context(room.place(modest, 1000)).receive(1)

    with room.place(greedy, 1000) as place:
        place.receive(75)
    with room.place(LOCAL_USER, 1000) as place:
        place.receive(100)


def test_remembered_listings_are_bounded_and_the_oldest_goes() -> None:
    recent = RecentListings(10)
    products = [Product(path="out", kind="tree", sha256=f"{number:064}") for number in range(3)]
    entries = {item: [LeftEntry(path="out", kind="directory", product=item)] * 5 for item in products}
    for item in products[:2]:
        recent.add(item, entries[item])
    assert recent.find(products[0]) == entries[products[0]]  # it is the latest now

    recent.add(products[2], entries[products[2]])

    assert [recent.find(item) is not None for item in products] == [True, False, True]
    recent.add(products[1], entries[products[1]] * 3)  # larger than the bound: nothing is left
    assert [recent.find(item) for item in products] == [None] * 3
