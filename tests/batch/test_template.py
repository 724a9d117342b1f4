"""Templates of arguments."""

from __future__ import annotations

import pytest

from plasm_core.batch.template import BatchInputError, Template, words


def test_fields_are_filled_in() -> None:
    template = Template.parse("--{name}={}/{n}")

    assert template.fill({"": "x", "n": "7", "name": "seed"}, "line 1") == "--seed=x/7"
    assert template.fields == {"", "n", "name"}


def test_two_braces_are_one() -> None:
    assert Template.parse("{{{}}}").fill({"": "x"}, "line 1") == "{x}"


def test_an_unknown_field_names_the_line_and_those_that_there_are() -> None:
    with pytest.raises(
        BatchInputError, match=r"line 3: the template --s=\{sed\} has the unknown field \{sed\}"
    ) as caught:
        Template.parse("--s={sed}").fill({"seed": "1"}, "line 3")

    assert caught.value.hint == "there are {seed}"


@pytest.mark.parametrize("text", ["{", "}", "{a{b}", "a}b"])
def test_a_single_brace_is_refused(text: str) -> None:
    with pytest.raises(BatchInputError, match="single"):
        Template.parse(text)


def test_a_filled_in_value_is_not_parsed_as_a_template() -> None:
    found = [template.fill({"": "a b {n}"}, "line 1") for template in words(["--x {}"])]

    assert found == ["--x", "a b {n}"]


def test_a_filled_template_is_bounded() -> None:
    with pytest.raises(BatchInputError, match="line 1"):
        Template.parse("{}" * 1000).fill({"": "x" * 10_000}, "line 1")
