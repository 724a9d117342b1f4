"""Hold what the commands show: nothing that strangers wrote may pass for our own words."""

import json
from collections.abc import Callable

import attrs
import pytest

from plasm_core import assurance
from plasm_core.assurance import Standing
from plasm_core.cli import render
from plasm_core.records import Decision, Opinion, Outcome, PeerId, Verdict
from plasm_core.verification import BINDINGS
from tests.support.receipts import ROOT, SIGNER, manifest, receipt

ACCEPT, REJECT, UNDECIDED = Decision.ACCEPT, Decision.REJECT, Decision.UNDECIDED
HOSTILE = "a[red]b[/red]\x1b[31mc\x07d\u202ee[link=x]"
SHOWN = "a[red]b[/red]\\x1b[31mc\\x07d\\u202ee[link=x]"

SHOWERS: list[Callable[[str], None]] = [
    lambda text: render.show_error(text, text),
    lambda text: render.show_mark("✗", text, stderr=True),
    lambda text: render.show_fields([("name", text)]),
    lambda text: render.show_rows(("a",), [(text,)]),
]


@pytest.fixture(params=range(len(SHOWERS)), ids=["error", "mark", "fields", "rows"])
def shown(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    def show(text: str) -> str:
        SHOWERS[request.param](text)
        captured = capsys.readouterr()
        return captured.out + captured.err

    return show


def test_neither_markup_nor_control_characters_take_effect(shown: Callable[[str], str]) -> None:
    assert SHOWN in shown(HOSTILE)


def test_a_long_value_is_never_cut_or_wrapped(shown: Callable[[str], str]) -> None:
    assert "ab" * 2000 in shown("ab" * 2000)


def test_a_name_between_colons_stays_as_it_is(shown: Callable[[str], str]) -> None:
    assert ":warning:" in shown("export :warning:")


def test_a_strangers_name_cannot_begin_a_line_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    render.show_mark("✗", "the module imports x\n✓ receipt verified", stderr=True)

    assert not [line for line in capsys.readouterr().err.splitlines() if line.startswith("✓")]


def verdict(*opinions: Opinion) -> Verdict:
    return Verdict(opinions=opinions)


def opinion(decision: Decision, *established: str, why: str = "", verifier: str = "v") -> Opinion:
    return Opinion(
        verifier=verifier,
        decision=decision,
        established=established,
        reasons=(why,) if why else (),
        signers=(SIGNER.peer_id,),
    )


def matched(*what: str) -> Opinion:
    return opinion(ACCEPT, *what, verifier=BINDINGS)


@pytest.mark.parametrize(
    ("found", "mark", "line"),
    [
        (
            verdict(matched("stdout", "module"), opinion(ACCEPT, "signature")),
            "✓",
            f"receipt verified ✓ signed by {SIGNER.peer_id}, stdout, module as expected, not re-executed",
        ),
        (
            verdict(opinion(ACCEPT, "signature"), opinion(ACCEPT, "re-execution", "quorum")),
            "✓",
            f"receipt verified ✓ signed by {SIGNER.peer_id}, re-executed, agreed on by a quorum",
        ),
        (verdict(opinion(ACCEPT, "re-execution")), "✓", "receipt verified ✓ re-executed"),
        (
            verdict(opinion(ACCEPT, "re-execution", why="re-executed on wasm3"), opinion(ACCEPT, "notary")),
            "✓",
            "receipt verified ✓ re-executed on wasm3, notary",
        ),
        (
            verdict(matched("stdout"), opinion(REJECT, why="a"), opinion(REJECT, why="b")),
            "✗",
            "receipt rejected: a; b",
        ),
        (verdict(opinion(ACCEPT), opinion(UNDECIDED, why="c")), "?", "receipt undecided: c"),
    ],
)
def test_a_verdict_names_what_it_established_and_what_not(found: Verdict, mark: str, line: str) -> None:
    assert render.verdict_line(found) == (mark, line)


def test_a_verdict_as_text_is_the_sentence_with_the_jobs_outcome() -> None:
    found = verdict(matched("stdout"), opinion(ACCEPT, "signature"))
    failed = attrs.evolve(found, outcome=Outcome(kind="exited", code=3), standing=Standing.NAMED)

    said = f"receipt verified ✓ signed by {SIGNER.peer_id}"
    assert str(found) == f"{said}, not re-executed"
    assert (
        str(failed) == f"{said}, a node that you named, not re-executed; the job failed: exited with code 3"
    )
    assert str(attrs.evolve(found, outcome=Outcome(kind="exited", code=0))).endswith(
        "; the job exited with code 0"
    )
    assert str(verdict(opinion(REJECT, why="a"))) == "receipt rejected: a"


def test_matches_are_named_only_if_requested() -> None:
    found = verdict(matched("stdout"), opinion(ACCEPT, "signature"))

    assert "stdout" not in render.verdict_line(found, matched=False)[1]


def test_a_verdict_as_json_says_the_same() -> None:
    assert render.verdict_json(verdict(opinion(UNDECIDED, "stdout", why="c")), Standing.STRANGER) == {
        "decision": "undecided",
        "established": ["stdout"],
        "reasons": ["c"],
        "signer": str(SIGNER.peer_id),
        "signers": [str(SIGNER.peer_id)],
        "standing": "stranger",
        "words": "receipt undecided: c",
    }


def test_the_summary_of_a_run_says_when_it_is_not_reproducible() -> None:
    mark, line = render.run_line(receipt())
    assert (mark, line) == ("✓", "exited with code 0 · 5,650 gas · 143 ms · wasmtime 50.0.1")

    _, line = render.run_line(receipt(of=manifest(capabilities=("clock.real",))))
    assert line.endswith(" · not reproducible")


VERDICTS = json.loads((ROOT / "tests" / "vectors" / "verdicts.json").read_text())


@pytest.mark.parametrize("case", VERDICTS, ids=lambda case: case["standing"])
def test_a_verdict_is_worded_as_in_php(case: dict[str, str]) -> None:
    peer = PeerId.parse(case["words"].split()[2].rstrip(","))
    signed = Opinion(verifier="signature", decision=ACCEPT, established=("signature",), signers=(peer,))
    standing = Standing[case["standing"].upper()]

    for shown in (
        render.verdict_line(verdict(signed), matched=False, standing=standing)[1],
        render.verdict_json(verdict(signed), standing)["words"],
    ):
        assert shown == f"receipt verified ✓ {case['words']}"
    assert render.verdict_json(verdict(signed), standing)["standing"] == case["standing"]


@pytest.mark.parametrize(
    ("require", "established", "standing", "suffices"),
    [
        ("signature", (), Standing.STRANGER, True),
        ("known", (), Standing.STRANGER, False),
        ("known", (), Standing.NAMED, True),
        ("known", (), Standing.OWN, True),
        ("reexecution", (), Standing.OWN, False),
        ("reexecution", ("quorum",), Standing.OWN, False),
        ("reexecution", ("re-execution",), Standing.STRANGER, True),
        ("quorum", ("re-execution",), Standing.OWN, False),
        ("quorum", ("quorum",), Standing.STRANGER, True),
        ("audit", ("quorum", "re-execution"), Standing.OWN, False),
        ("audit", ("audit",), Standing.STRANGER, True),
    ],
)
def test_the_requirements_that_each_verdict_meets(
    require: str, established: tuple[str, ...], standing: Standing, suffices: bool
) -> None:
    found = verdict(opinion(ACCEPT, "signature", *established))

    assert (assurance.lacking(require, found, standing) is None) is suffices
    assert assurance.lacking(require, verdict(opinion(UNDECIDED)), standing) is not None
