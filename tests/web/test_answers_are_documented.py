"""Whatever is asked, the answer is one that the OpenAPI document has: a short form of benchmarks/http_fuzz.py."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plasm_core.web.api_document import document
from tests.support.receipts import ROOT
from tests.support.web_server import Answer, WebServer

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
DOCUMENT = document()
OPERATIONS = [
    (path, method, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path != "/v1/events"  # it has no end
]
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
"""What may stand in a header."""


def check(operation: dict[str, Any], answer: Answer) -> None:
    """Compare an answer with what the document says of its operation."""
    responses = operation["responses"]
    assert str(answer.status) in responses, (answer.status, answer.body[:300])
    assert answer.status < 500, answer.body[:300]
    content = responses[str(answer.status)].get("content", {})
    kind = answer.headers.get("content-type", "").partition(";")[0]
    if answer.body:
        assert kind in content, (answer.status, kind)
        if kind.endswith("json"):
            schema = {**content[kind]["schema"], "components": DOCUMENT["components"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json)


@pytest.fixture(scope="module")
def job(web: WebServer) -> str:
    """The id of a job that has ended."""
    found: str = web.submit([("module", HELLO)], wait_s=60).json["jobId"]
    return found


@pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[item[2]["operationId"] for item in OPERATIONS]
)
def test_an_answer_is_one_of_the_document(
    web: WebServer, job: str, path: str, method: str, operation: dict[str, Any]
) -> None:
    body = "requestBody" in operation

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        target, query, headers = path, [], {}
        for parameter in operation["parameters"]:
            name, where = parameter["name"], parameter["in"]
            if where == "path":
                value = data.draw(
                    st.one_of(st.just(job), st.just("0" * 64), st.text(min_size=1, max_size=70))
                )
                target = target.replace(f"{{{name}}}", quote(value, safe=""))
            elif data.draw(st.booleans()):
                kinds = [
                    st.sampled_from(
                        ["true", "false", "1", "1000", "0", "bytes=0-3", "wait=0", "end", "1.0.0"]
                    )
                ]
                value = data.draw(st.one_of(*kinds, WORDS))
                if where == "query":
                    query.append(f"{name}={quote(value, safe='')}")
                else:
                    headers[name] = value
        sent = data.draw(st.binary(max_size=200)) if body else None
        if body:
            headers["Content-Type"] = data.draw(
                st.sampled_from(["multipart/form-data; boundary=B", "application/wasm", "text/plain", "a/b"])
            )
        token = data.draw(st.sampled_from(["page", None, "wrong"]))
        if method in ("delete",) or path.endswith("/release"):
            target = target.replace(job, "0" * 64)  # the others need it
        check(
            operation,
            web.ask(
                method.upper(),
                target + ("?" + "&".join(query) if query else ""),
                token=token,
                headers=headers,
                body=sent,
            ),
        )

    ask()


def test_the_document_is_json_that_says_so() -> None:
    """Schemas that refer to nothing would accept everything above."""
    with pytest.raises(jsonschema.ValidationError):
        check(
            {
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}}}
                }
            },
            Answer(
                status=200,
                headers={"content-type": "application/json"},
                body=json.dumps({"jobId": "x"}).encode(),
            ),
        )
