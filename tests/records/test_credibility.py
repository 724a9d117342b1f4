"""The estimates of error are those of the formulas, and an answer that many of one kind give is not better for it."""

from __future__ import annotations

import math

import attrs
import pytest

from plasm_core.records.credibility import LIARS, answer_error, answer_errors, error_text, node_error
from plasm_core.records.history import NodeHistory
from plasm_core.testing.claims import SIGNER, SeedSigner

NOBODY = NodeHistory(peer=SIGNER.peer_id)


def checked(count: float) -> NodeHistory:
    return attrs.evolve(NOBODY, trust=count)


def test_a_node_of_which_nothing_is_known_lies_as_often_as_any() -> None:
    assert node_error(NOBODY) == LIARS
    assert node_error(NOBODY, liars=0.4) == 0.4


def test_the_estimate_falls_with_each_check_and_is_a_bound_for_every_rate_of_lying() -> None:
    """P(still here and lies next), of those still here, for the rate that makes it largest."""
    assert node_error(checked(92)) == pytest.approx(1e-3, rel=0.01)
    for checks in (1, 3, 10, 100, 1000):
        worst = max(
            LIARS * (1 - rate) ** checks * rate / (1 - LIARS + LIARS * (1 - rate) ** checks)
            for rate in (number / 5000 for number in range(1, 5001))
        )
        assert worst <= node_error(checked(checks)) <= 2.5 * worst


def test_a_convicted_node_is_believed_nothing_and_its_network_little() -> None:
    from datetime import datetime, timezone

    convicted = attrs.evolve(checked(100), convicted_at=datetime.now(timezone.utc))
    neighbour = attrs.evolve(NOBODY, network="n", network_nodes=4, network_convicted=3)

    assert node_error(convicted) == 1
    assert node_error(neighbour) == 0.75
    assert node_error(attrs.evolve(neighbour, network_convicted=1)) == 0.5
    assert node_error(attrs.evolve(neighbour, trust=1000)) < 0.01


def test_agreement_makes_an_answer_better_and_a_contradiction_worse() -> None:
    alone = answer_error([0.2])
    two = answer_error([0.2, 0.2])

    assert alone == pytest.approx(0.2)
    assert two == pytest.approx(0.04 / 0.68)
    assert answer_error([0.2, 0.2], [[0.2]]) > two
    assert answer_error([0.2], [[0.2]]) > 0.5
    assert answer_error([0.001], [[0.2]]) < 0.01 < answer_error([0.2], [[0.001]])


def test_nodes_of_one_network_count_once_as_the_best_known_of_them() -> None:
    signers = [SeedSigner(bytes([number]) * 32).peer_id for number in range(4)]
    one, two, three, four = (NodeHistory(peer=item) for item in signers)
    together = [attrs.evolve(one, network="n"), attrs.evolve(two, network="n", trust=20)]
    expected = node_error(together[1])

    assert answer_errors([[one, two], [three]]) == [
        pytest.approx(answer_error([0.2, 0.2], [[0.2]])),
        pytest.approx(answer_error([0.2], [[0.2, 0.2]])),
    ]
    assert answer_errors([together]) == [pytest.approx(expected)]
    assert answer_errors([together, [three, four]])[0] == pytest.approx(
        answer_error([expected], [[0.2, 0.2]])
    )
    assert answer_errors([]) == []


def test_five_strangers_that_agree_are_enough_for_one_in_a_thousand() -> None:
    assert answer_error([0.2] * 4) > 1e-3 > answer_error([0.2] * 5)


@pytest.mark.parametrize("groups", [[[1.0]], [[1.0], [0.2]], [[0.0]], [[0.0], [0.0]], [[]], [[], [0.2]]])
def test_it_is_a_probability_at_the_edges_too(groups: list[list[float]]) -> None:
    found = answer_error(groups[0], groups[1:])

    assert 0 <= found <= 1
    assert not math.isnan(found)


@pytest.mark.parametrize(
    ("error", "text"),
    [(1.0, "1"), (0.2, "0.2"), (0.0099, "9.9e-3"), (4e-4, "4e-4"), (1e-10, "1e-10"), (0.0, "0")],
)
def test_texts_show_two_digits(error: float, text: str) -> None:
    assert error_text(error) == text
