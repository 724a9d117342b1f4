"""Jobs with files over HTTP, with a real daemon: what a user of curl does."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest

from plasm_core import Submission
from plasm_core.records import Envelope, Manifest, Receipt
from plasm_core.testing.bench import MODULES
from plasm_core.tree_listing import DIRECTORY, FILE, TreeEntry, encode
from plasm_core.web.api_document import document
from tests.support.wat import starting
from tests.support.web_server import Answer, WebServer, form

MODULE = (MODULES / "files.wasm").read_bytes()
"""Copies in/data to out/copy, and its length to out/sub/length."""
CONTENT = b"some data\n" * 10_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FOR_EVER = starting("(loop $l (br $l))")
Parts = tuple[tuple[str, bytes], ...]
GIVEN: Parts = (("file:in/data", CONTENT), ("outputs", b"out/"))


def valid(name: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def done(web: WebServer, *parts: tuple[str, bytes], token: str | None = "page") -> Any:
    """Submit the module with files, and return the job when it has succeeded."""
    answer = web.submit([*parts, ("module", MODULE)], wait_s=60, token=token)
    assert answer.status == 200, answer.body
    assert answer.json["outcome"] == {"kind": "exited", "code": 0}
    return answer.json


def refused(answer: Answer) -> tuple[int, str]:
    """Return status and code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.body
    return answer.status, answer.json["code"]


def archive(files: Mapping[str, bytes]) -> bytes:
    """Return a .tar.gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in files.items():
            file.writestr(name, data)
    return packed.getvalue()


def copied(web: WebServer, job: Any) -> bytes:
    """Return the file that the module makes."""
    return web.ask("GET", f"/v1/jobs/{job['jobId']}/files/out/copy").body


def test_a_job_gets_files_and_the_files_that_it_leaves_are_listed_and_read(web: WebServer) -> None:
    job = done(web, *GIVEN)

    valid("Job", job)
    assert job["files"]["outputs"] == ["out"]
    path = f"/v1/jobs/{job['jobId']}"
    listed = web.ask("GET", f"{path}/files").json
    valid("LeftFiles", listed)
    length = len(CONTENT).to_bytes(4, "little")
    assert listed["files"] == [
        {"path": "out", "kind": "directory"},
        {"path": "out/copy", "kind": "file", "sizeBytes": len(CONTENT), "sha256": DIGEST},
        {"path": "out/sub", "kind": "directory"},
        {
            "path": "out/sub/length",
            "kind": "file",
            "sizeBytes": 4,
            "sha256": hashlib.sha256(length).hexdigest(),
        },
    ]
    assert (listed["missing"], "next" in listed) == ([], False)
    assert web.ask("GET", f"{path}/files/out/copy").body == CONTENT
    assert web.ask("GET", f"{path}/files/out/sub/length").body == length


def test_a_listing_has_what_the_digest_in_the_receipt_is_taken_of(web: WebServer) -> None:
    """A client that trusts nobody but the node computes the digest of the tree itself."""
    job = done(web, *GIVEN)
    path = f"/v1/jobs/{job['jobId']}"
    listed = web.ask("GET", f"{path}/files").json
    receipt = Receipt.from_statement(Envelope.from_json(web.ask("GET", f"{path}/receipt").body).payload)

    entries = [
        TreeEntry(item["path"].removeprefix("out/").encode(), DIRECTORY)
        if item["kind"] == "directory"
        else TreeEntry(
            item["path"].removeprefix("out/").encode(),
            FILE,
            size=item["sizeBytes"],
            digest=bytes.fromhex(item["sha256"]),
        )
        for item in listed["files"][1:]
    ]
    (output,) = listed["outputs"]
    assert hashlib.sha256(encode(entries)).hexdigest() == output["sha256"] == receipt.files[0].sha256


@pytest.mark.parametrize(
    "parts",
    [
        (("tree", archive({"in/data": CONTENT})),),
        (("tree", zipped({"in/data": CONTENT})),),
        (("tree", archive({"other": b"1"})), ("file:in/data", CONTENT)),
        (("file:/in/data", CONTENT), ("file:empty/", b""), ("file:in/ü €.txt", b"2")),
    ],
)
def test_files_come_as_archives_and_one_by_one(web: WebServer, parts: Parts) -> None:
    assert copied(web, done(web, *parts, ("outputs", b"out/"))) == CONTENT


def test_a_tree_is_the_one_that_other_clients_make_of_the_same_files(web: WebServer) -> None:
    """So its digest can be known before it is sent, and results of equal tasks are equal."""
    with Submission.of(MODULE, files={"in/data": CONTENT, "in/x/y": b""}, outputs=["out/"]) as submission:
        files = submission.manifest.files

    job = done(web, *GIVEN, ("file:in/x/y", b""))

    assert files is not None
    assert job["files"]["tree"] == files.tree


def test_the_part_files_has_what_is_kept_what_is_read_only_and_limits(web: WebServer) -> None:
    described = {"outputs": ["out/", "none"], "read_only": ["in"], "limits": {"data_bytes": 1_000_000}}

    job = done(web, ("files", json.dumps(described).encode()), ("file:in/data", CONTENT))

    assert (job["files"]["readOnly"], job["files"]["outputs"]) == (["in"], ["none", "out"])
    assert job["files"]["limits"] == {"dataBytes": 1_000_000, "entries": 65_536, "descriptors": 1_024}
    listed = web.ask("GET", f"/v1/jobs/{job['jobId']}/files").json
    assert listed["missing"] == ["none"]
    read_only = 69  # the errno that the module is given when it tries to change its input
    assert web.ask("GET", f"/v1/jobs/{job['jobId']}/stdout").body == bytes([read_only])


def test_an_output_that_is_a_file_is_listed_with_its_size(web: WebServer) -> None:
    described = b'{"outputs": ["out/copy"]}'

    job = done(web, ("files", described), ("file:in/data", CONTENT))

    listed = web.ask("GET", f"/v1/jobs/{job['jobId']}/files").json
    assert listed["files"] == [
        {"path": "out/copy", "kind": "file", "sizeBytes": len(CONTENT), "sha256": DIGEST}
    ]
    assert copied(web, job) == CONTENT
    assert web.ask("GET", f"/v1/jobs/{job['jobId']}/output?path=out/copy").body == CONTENT


def test_the_root_of_the_tree_may_be_the_output(web: WebServer) -> None:
    job = done(web, ("file:in/data", CONTENT), ("file:out/", b""), ("outputs", b"."))

    listed = web.ask("GET", f"/v1/jobs/{job['jobId']}/files").json
    assert [item["path"] for item in listed["files"]] == [
        *(".", "in", "in/data", "out", "out/copy", "out/sub", "out/sub/length", "tmp"),
    ]
    assert copied(web, job) == CONTENT


def test_a_file_has_the_headers_of_a_download_and_its_parts(web: WebServer) -> None:
    path = f"/v1/jobs/{done(web, *GIVEN)['jobId']}/files/out/copy"

    def asked(**headers: str) -> Answer:
        return web.ask("GET", path, headers={name.replace("_", "-"): item for name, item in headers.items()})

    whole = asked()
    assert whole.headers["etag"] == f'"{DIGEST}"'
    assert whole.headers["content-type"] == "application/octet-stream"
    assert whole.headers["content-disposition"] == "attachment; filename=\"copy\"; filename*=UTF-8''copy"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in whole.headers["content-security-policy"]
    for headers in ({}, {"Range": "bytes=5-14"}):  # which has a meaning for GET only
        head = web.ask("HEAD", path, headers=headers)
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(CONTENT)), b"")
    part = asked(Range="bytes=5-14")
    assert (part.status, part.body) == (206, CONTENT[5:15])
    assert part.headers["content-range"] == f"bytes 5-14/{len(CONTENT)}"
    assert asked(Range="bytes=-7").body == CONTENT[-7:]
    assert asked(Range=f"bytes={len(CONTENT) - 1}-").body == b"\n"
    assert refused(asked(Range=f"bytes={len(CONTENT)}-")) == (416, "bad_range")
    same = asked(If_None_Match=f'"0", W/"{DIGEST}"')
    assert (same.status, same.body) == (304, b"")
    assert asked(Range="bytes=0-1", If_Range=f'"{DIGEST}"').status == 206
    changed = asked(Range="bytes=0-1", If_Range='"0"')
    assert (changed.status, changed.body) == (200, CONTENT)


def test_an_output_is_read_as_its_node_sends_it(web: WebServer) -> None:
    """Its listing has the digest that the receipt states: PHP verifies it byte by byte."""
    path = f"/v1/jobs/{done(web, *GIVEN)['jobId']}"
    (output,) = web.ask("GET", f"{path}/files").json["outputs"]

    pack = web.ask("GET", f"{path}/output?path=out")
    length = int.from_bytes(pack.body[:4], "little")
    assert pack.headers["phase-kind"] == "tree"
    assert hashlib.sha256(pack.body[4 : 4 + length]).hexdigest() == output["sha256"]
    assert pack.headers["etag"] == f'"{output["sha256"]}"'
    assert pack.body[4 + length :].startswith(CONTENT)
    part = web.ask("GET", f"{path}/output?path=out", headers={"Range": "bytes=0-3"})
    assert (part.status, part.body) == (206, pack.body[:4])
    assert refused(web.ask("GET", f"{path}/output?path=in")) == (404, "not_found")
    assert refused(web.ask("GET", f"{path}/output")) == (422, "invalid_request")


def test_a_manifest_of_the_client_and_a_pack_make_one_job(web: WebServer) -> None:
    with Submission.of(MODULE, files={"in/data": CONTENT}, outputs=["out/"]) as submission:
        assert submission.pack is not None
        pack = os.pread(submission.pack.fd, submission.pack.size_bytes, 0)
        manifest = submission.manifest_json
    other = json.loads(manifest)
    other["files"]["tree"] = "0" * 64

    job = done(web, ("manifest", manifest), ("pack", pack))
    again = done(web, ("manifest", manifest), ("treeDigest", job["files"]["tree"].encode()))

    assert job["jobId"] == again["jobId"] == hashlib.sha256(manifest).hexdigest()
    assert copied(web, job) == CONTENT
    wrong = web.submit([("manifest", json.dumps(other).encode()), ("pack", pack), ("module", MODULE)])
    assert refused(wrong) == (422, "digest_mismatch")
    assert job["files"]["tree"] in wrong.json["errors"][0]["message"]
    without = web.submit([("manifest", manifest), ("module", MODULE)])
    assert refused(without) == (422, "invalid_request")
    kept = web.submit([("manifest", manifest), ("pack", pack), ("outputs", b"x"), ("module", MODULE)])
    assert refused(kept) == (422, "invalid_request")


def test_a_tree_is_named_by_the_token_that_has_sent_it_and_by_no_other(web: WebServer) -> None:
    first, second = web.make_token("sender"), web.make_token("stranger")
    content = b"of one token"
    tree = done(web, ("file:in/data", content), ("outputs", b"out/"), token=first)["files"]["tree"]
    named = [("treeDigest", tree.encode()), ("outputs", b"out"), ("module", MODULE)]

    again = web.submit(named, wait_s=60, token=first)

    path = f"{again.headers['location']}/files/out/copy"
    assert web.ask("GET", path, token=first).body == content
    assert web.ask("GET", f"/v1/trees/{tree}", token=first).json["digest"] == tree
    assert refused(web.submit(named, token=second)) == (404, "unknown_tree")
    assert refused(web.ask("GET", f"/v1/trees/{tree}", token=second)) == (404, "unknown_tree")
    assert refused(web.ask("GET", path, token=second)) == (404, "not_found")


def test_pages_of_a_listing_have_each_file_once(web: WebServer) -> None:
    given = tuple((f"file:in/{number:03}", b"") for number in range(20))
    job = done(web, *given, ("file:in/data", b"1"), ("file:out/", b""), ("outputs", b"."))
    path = f"/v1/jobs/{job['jobId']}/files"
    whole = web.ask("GET", path).json

    found, after = [], "0"
    while after is not None:
        page = web.ask("GET", f"{path}?limit=7&after={after}").json
        valid("LeftFiles", page)
        assert page["outputs"] == whole["outputs"]
        found += page["files"]
        after = page.get("next")

    assert found == whole["files"]
    assert len(found) > 20


def test_files_before_the_end_and_after_the_release_are_problems(web: WebServer) -> None:
    running = web.submit([("module", FOR_EVER), ("outputs", b"out/")]).json["jobId"]
    assert refused(web.ask("GET", f"/v1/jobs/{running}/files")) == (409, "not_ended")
    assert refused(web.ask("GET", f"/v1/jobs/{running}/files/out/copy")) == (409, "not_ended")
    web.ask("DELETE", f"/v1/jobs/{running}")
    cancelled = web.ask("GET", f"/v1/jobs/{running}/files").json
    assert (cancelled["files"], cancelled["missing"]) == ([], ["out"])

    job = done(web, *GIVEN)["jobId"]
    web.ask("POST", f"/v1/jobs/{job}/release")

    assert refused(web.ask("GET", f"/v1/jobs/{job}/files")) == (410, "released")
    assert refused(web.ask("GET", f"/v1/jobs/{job}/files/out/copy")) == (410, "released")


def test_a_job_without_files_has_none_to_list(web: WebServer) -> None:
    job = web.submit([("module", starting(""))], wait_s=60).json

    listed = web.ask("GET", f"/v1/jobs/{job['jobId']}/files")

    assert "files" not in job
    assert listed.json == {"outputs": [], "missing": [], "files": []}


def test_every_job_of_a_batch_gets_the_files_and_leaves_its_own(web: WebServer) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=B", "Prefer": "wait=60"}
    body = form("B", [*GIVEN, ("jobs", b"{}\n{}\n"), ("module", MODULE)])
    batch = web.ask("POST", "/v1/batches", headers=headers, body=body)
    assert batch.json["counts"]["succeeded"] == 2, batch.json

    path = f"{batch.headers['location']}/jobs/1"
    listed = web.ask("GET", f"{path}/files").json
    valid("LeftFiles", listed)
    assert [item["path"] for item in listed["files"]] == ["out", "out/copy", "out/sub", "out/sub/length"]
    file = web.ask("GET", f"{path}/files/out/copy")
    assert (file.body, file.headers["etag"]) == (CONTENT, f'"{DIGEST}"')
    part = web.ask("GET", f"{path}/files/out/copy", headers={"Range": "bytes=1-3"})
    assert (part.status, part.body) == (206, CONTENT[1:4])
    assert web.ask("GET", f"{path}/files/out/copy", headers={"If-None-Match": "*"}).status == 304
    assert refused(web.ask("GET", f"{path}/files/out/sub")) == (404, "not_found")
    assert refused(web.ask("GET", f"{path}/files/../receipt")) == (404, "not_found")
    manifest = Manifest.from_json(web.ask("GET", f"{path}/manifest").body)
    assert manifest.files is not None
    assert manifest.files.outputs == ("out",)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((("file:../data", b""),), (422, "bad_files")),
        ((("file:in/./data", b""),), (422, "bad_files")),
        ((("file:in//data", b""),), (422, "bad_files")),
        ((("file:" + "a" * 256, b""),), (422, "bad_files")),
        ((("file:a", b""), ("file:a", b"")), (422, "bad_files")),
        ((("file:a", b""), ("file:a/b", b"")), (422, "bad_files")),
        ((("file:a/", b"bytes"),), (422, "bad_files")),
        ((("tree", archive({"../a": b""})),), (422, "bad_files")),
        ((("tree", archive({"/a": b""})),), (422, "bad_files")),
        ((("tree", b"no archive"),), (422, "bad_files")),
        ((("tree", zipped({"a": b"1"})[:-5]),), (422, "bad_files")),
        ((("tree", archive({"a": b"1"})), ("file:a", b"2")), (422, "bad_files")),
        ((("pack", b""),), (422, "bad_files")),
        ((("pack", b"\x04\0\0\0none"),), (422, "bad_files")),
        ((("pack", b"\xff\xff\xff\xff"),), (422, "bad_files")),
        ((("outputs", b"../out"),), (422, "bad_files")),
        ((("outputs", b"out"), ("outputs", b"out/in")), (422, "bad_files")),
        ((("outputs", b"out\n"),), (422, "invalid_request")),
        ((("outputs", b"\xff"),), (422, "invalid_request")),
        ((("files", b'{"read_only": ["in"]}'),), (422, "bad_files")),
        ((("files", b'{"output": []}'),), (422, "invalid_record")),
        ((("files", b'{"limits": {"data_bytes": -1}}'),), (422, "invalid_record")),
        ((("files", b'{"outputs": ["a"]}'), ("outputs", b"b")), (422, "invalid_request")),
        ((("treeDigest", b"0" * 64),), (404, "unknown_tree")),
        ((("treeDigest", b"../../../etc/passwd"),), (404, "unknown_tree")),
        ((("treeDigest", b"0" * 64), ("file:a", b"")), (422, "invalid_request")),
        ((("file", b""),), (422, "invalid_request")),
        ((("file:a\\b", b""),), (422, "invalid_request")),
        ((("file:a%22b", b""),), (422, "invalid_request")),
    ],
)
def test_what_is_no_tree_is_refused_and_nothing_is_run(
    web: WebServer, parts: Parts, expected: tuple[int, str]
) -> None:
    before = web.ask("GET", "/v1/jobs").json["jobs"][:1]

    answer = web.submit([*parts, ("module", MODULE)])

    assert refused(answer) == expected
    assert web.ask("GET", "/v1/jobs").json["jobs"][:1] == before
