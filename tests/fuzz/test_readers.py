"""Python's and PHP's readers give one verdict on every input, and read the same values.

`python tests/fuzz/fuzz_readers.py` tries as many inputs as one likes; what a long run found is recorded in
`benchmarks/results/fuzz-readers.txt`.
"""

from __future__ import annotations

import collections
import itertools
import json
import shutil

import pytest

from plasm_core.records import PAYLOAD_TYPE, Envelope, PeerId, Signature, pae
from plasm_core.testing.claims import SIGNER, receipt
from tests.fuzz.fuzz_readers import differences
from tests.fuzz.reader_inputs import Inputs
from tests.fuzz.readers import READERS, Input, PhpReaders, read

pytestmark = pytest.mark.skipif(shutil.which("php") is None, reason="there is no php")

INPUTS = 3_000
STATEMENT = receipt().to_statement()
SIGNATURE = Signature(key_id="", sig=SIGNER.sign(pae(PAYLOAD_TYPE, STATEMENT)))
OF_SMALL_ORDER = PeerId(b"\1" + bytes(31))
HELLO = f'{{"type":"hello","peer":"{SIGNER.peer_id}"}}'.encode()
ENVELOPE = Envelope(payload=STATEMENT, signatures=(SIGNATURE,)).to_json()


def with_unknown(value: bytes) -> bytes:
    """Return the statement with a field that no reader knows."""
    return STATEMENT[:-1] + b',"unknown":' + value + b"}"


def state(**changed: object) -> bytes:
    """Return a node's message of a job that runs, with some fields of its status changed."""
    status = {"state": "RUNNING", "attempt": 1, "stdout_bytes": 0, "stderr_bytes": 0, **changed}
    return json.dumps({"type": "state", "status": status}).encode()


def test_python_and_php_read_alike() -> None:
    tried: collections.Counter[tuple[str, str]] = collections.Counter()

    found = list(itertools.islice(differences(itertools.islice(Inputs(20260102), INPUTS), tried), 5))

    assert found == []
    for kind in READERS:  # else it says nothing
        assert tried[kind, "accepted"] > 10, kind
        assert tried[kind, "refused"] > 10, kind


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        (("receipt", STATEMENT), True),
        (("envelope", ENVELOPE), True),
        (("verified", ENVELOPE), True),
        (("receipt", with_unknown(b"[" * 254 + b"]" * 254)), True),
        (("receipt", with_unknown(b"[" * 255 + b"]" * 255)), False),
        (("receipt", with_unknown(b'{"a":' * 254 + b"1" + b"}" * 254)), True),
        (("receipt", with_unknown(b'{"a":' * 255 + b"1" + b"}" * 255)), False),
        (("receipt", with_unknown(b'["' + b"[" * 400 + b'\\"", []]')), True),
        (("receipt", with_unknown(b"9" * 1_000)), True),
        (("receipt", with_unknown(b"9" * 1_001)), False),
        (("receipt", with_unknown(b"-0." + b"9" * 998)), False),
        (("receipt", with_unknown(b'["' + b"9" * 5_000 + b'"]')), True),
        (("receipt", with_unknown(b"-0.5e400")), True),
        (("receipt", with_unknown(b'{"":1}')), True),
        (("receipt", with_unknown(b'{"\\u0000":1}')), False),
        (("receipt", with_unknown(b'{"a\\u0000":1}')), False),
        (("receipt", with_unknown(b'"\\u0000"')), True),
        (("receipt", with_unknown(b'"\\udc00"')), False),
        (("receipt", with_unknown(b'{"a":1,"\\u0061":1}')), False),
        (("receipt", STATEMENT.replace(b'"subject":[', b'"subject":[' + b"{}," * 2_000)), False),
        (("envelope", ENVELOPE.replace(b'"keyid":""', b'"keyid":null')), False),
        (("envelope", json.dumps({**json.loads(ENVELOPE), "signatures": {}}).encode()), False),
        (("envelope", json.dumps({**json.loads(ENVELOPE), "signatures": [1] * 200_000}).encode()), False),
        (("handle", b"phase0-"), False),
        (("peer", f"{SIGNER.peer_id}\n".encode()), False),
        (("message", b'{"type":"possessed","known":1}'), False),
        (("message", b'{"type":"possessed","known":"false"}'), False),
        (("message", b'{"type":"possessed","known":[]}'), False),
        (("message", b'{"type":"hello","peer":"Process"}'), False),
        (("message", f'{{"type":"hello","peer":"{OF_SMALL_ORDER}"}}'.encode()), False),
        (("message", HELLO), True),
        (("message", HELLO[:-1] + b',"keep_s":null,"features":null}'), True),
        (("message", HELLO[:-1] + b',"features":' + json.dumps(["files"] * 65).encode() + b"}"), True),
        (("message", b'{"type":"possessed","known":true,"channel":null}'), True),
        (("message", state(started_at=None, expires_at=None)), True),
        (("message", state(position=None, outcome=None, node=None)), True),
        (("message", state(node=str(OF_SMALL_ORDER))), False),
        (("message", state(attempt=None)), False),
        (("message", b'{"type":"credit","channel":"stdin","upto":5,"attempt":-1}'), False),
        (("message", b'{"type":"credit","channel":"stdin","upto":5,"attempt":null}'), False),
    ],
    ids=lambda value: f"{value[0]}:{value[1][-40:]!r}" if isinstance(value, tuple) else str(value),
)
def test_where_readers_once_differed_both_say_the_same(given: Input, accepted: bool) -> None:
    with PhpReaders() as php:
        (theirs,) = php.read([given])

    assert (theirs is not None) is accepted
    assert read(*given) == theirs
