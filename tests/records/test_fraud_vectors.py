"""A fraud proof is refused, left open or proven by the vectors that PHP is held to as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from plasm_core.errors import ProofRefusedError
from plasm_core.fraud import compare, missing_inputs, read_proof
from plasm_core.records.schema import fraud_proof_schema
from tests.vectors import generate_fraud

VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors", "fraud.json").read_bytes())["cases"]


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_a_proof_is_refused_or_compared_as_its_vector_says(case: dict[str, Any]) -> None:
    data = case["proof"].encode()
    if case["refused"] is not None:
        with pytest.raises(ProofRefusedError) as caught:
            compare(read_proof(data))
        assert caught.value.code == case["refused"]
        return

    proof = read_proof(data)
    compared = compare(proof)

    assert compared.differ == case["differ"]
    assert [str(item.node) for item in compared.convictions] == case["convicted"]
    assert list(missing_inputs(proof, compared.asked)) == case["missing"]


def test_the_vectors_are_those_that_the_generator_computes() -> None:
    assert generate_fraud.cases() == VECTORS


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_the_published_schema_takes_what_the_reader_takes(case: dict[str, Any]) -> None:
    try:
        document = json.loads(case["proof"])
    except ValueError:
        return
    is_twice = case["name"] == "a name twice"  # no schema can see that

    is_valid = Draft202012Validator(fraud_proof_schema()).is_valid(document)

    assert is_valid == (case["refused"] != "malformed-proof" or is_twice)
