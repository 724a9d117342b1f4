"""Merkle trees of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasm_core.records import merkle

DATA = [b"", b"\x00", b"\x10", b" !", b"01", b"@ABC", b"PQRSTUVW", b"`abcdefghijklmno"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""The roots over the first 1 to 8 of `DATA`, as the tests of Certificate Transparency's implementations have them."""


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % number) for number in range(count)]


@pytest.mark.parametrize("count", range(1, 9))
def test_roots_are_those_of_certificate_transparency(count: int) -> None:
    assert merkle.root([merkle.leaf_hash(item) for item in DATA[:count]]).hex() == ROOTS[count - 1]


def test_no_leaves_have_the_hash_of_nothing() -> None:
    assert merkle.root([]) == hashlib.sha256().digest()


def test_every_leaf_of_every_small_tree_is_included_and_only_there() -> None:
    for size in range(1, 20):
        made = leaves(size)
        expected = merkle.root(made)
        for index in range(size):
            proof = merkle.inclusion(made, index)
            assert merkle.is_included(made[index], index, size, proof, expected)
            wrong = [other for other in range(size) if other != index]
            assert not any(merkle.is_included(made[index], other, size, proof, expected) for other in wrong)


@given(st.integers(1, 300), st.data())
def test_a_forged_proof_is_refused(size: int, data: st.DataObject) -> None:
    made = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = list(merkle.inclusion(made, index))
    at = data.draw(st.integers(0, len(proof)))
    change = data.draw(st.sampled_from(("flip", "drop", "add")))
    if at == len(proof) or change == "add":
        proof.insert(at, bytes(32))
    elif change == "drop":
        del proof[at]
    else:
        proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]

    assert not merkle.is_included(made[index], index, size, proof, merkle.root(made))


def test_no_index_outside_of_the_tree_is_included() -> None:
    made = leaves(3)

    assert not merkle.is_included(made[0], 3, 3, (), merkle.root(made))
    assert not merkle.is_included(made[0], -1, 3, merkle.inclusion(made, 0), merkle.root(made))
    with pytest.raises(IndexError):
        merkle.inclusion(made, 3)
