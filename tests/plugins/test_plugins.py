"""Install plugins of every sort, good and bad, and see which are taken and what is said of the others."""

from typing import Any

import pytest

from plasm_core.errors import (
    PluginBrokenError,
    PluginConflictError,
    PluginError,
    PluginMissingError,
)
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import Signer, Verifier
from tests.support.distributions import Site, verifier


def create(name: str, **table: Any) -> Verifier:
    return loading.create(Verifier, name, table)  # type: ignore[type-abstract]


def refusal(kind: type[PluginError], name: str = "jury") -> str:
    with pytest.raises(kind) as caught:
        loading.load("verifier", name)
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_plugin_is_found_by_its_entry_point(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury")

    found = create("jury")

    assert isinstance(found, Verifier)
    assert type(found).__module__ == "plasm_test_jury"


def test_the_plugin_in_the_documentation_works(site: Site) -> None:
    """plasm_core.plugins.hookspecs shows a whole plugin."""
    from plasm_core.plugins import hookspecs

    assert hookspecs.__doc__ is not None
    source = hookspecs.__doc__.partition("`plasm_verifier_never`:\n")[2].partition("with, in its pyproject")[
        0
    ]
    site.install("plasm-test-never", source=source, entry_points={"verifier_never": "plasm_test_never"})

    assert create("never").judge([]).reasons == ("never",)


def test_two_providers_of_one_name_are_refused(site: Site) -> None:
    site.verifier("plasm-test-one", "jury")
    site.verifier("plasm-test-two", "jury")

    message = "two distributions provide the verifier jury: plasm-test-one and plasm-test-two"
    assert refusal(PluginConflictError) == message
    assert site.imported() == set()


def test_a_stranger_cannot_take_the_place_of_our_own_plugin(site: Site) -> None:
    site.verifier("plasm-test-signature", "signature")

    assert "plasm and plasm-test-signature" in refusal(PluginConflictError, "signature")
    assert site.imported() == set()


def test_one_distribution_with_two_modules_for_one_name_is_a_conflict_too(site: Site) -> None:
    site.install("plasm-test-a", entry_points={"verifier_jury": "plasm_test_a"})
    path = site.directory / "plasm_test_a-1.2.3.dist-info" / "entry_points.txt"
    path.write_text(path.read_text() + "verifier_jury = plasm_test_a:other\n")

    assert refusal(PluginConflictError)


def test_what_is_not_listed_is_never_imported(site: Site) -> None:
    """Nothing unlisted runs beside a key."""
    site.verifier("plasm-test-jury", "jury")
    site.verifier("plasm-test-evil", "evil", source="raise SystemExit('imported')")

    create("jury")
    loading.entry_points()

    assert site.imported() == {"plasm_test_jury"}


def test_a_missing_plugin_names_those_that_are_installed() -> None:
    with pytest.raises(PluginMissingError) as caught:
        loading.load("verifier", "jury")

    assert str(caught.value) == "no installed distribution provides the verifier jury"
    assert caught.value.hint is not None
    assert "signature" in caught.value.hint.removeprefix("installed: ").split(", ")


def test_a_missing_plugin_of_the_catalogue_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.CATALOGUE, "verifier_jury", "pip install 'phase-plasm[jury]'")
    with pytest.raises(PluginMissingError) as caught:
        loading.load("verifier", "jury")

    assert str(caught.value) == "the verifier jury is not installed"
    assert caught.value.hint == "install it with: pip install 'phase-plasm[jury]'"


def test_there_is_no_fallback_to_another_kind_or_a_similar_name(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury")

    for name in ("Jury", "jur", "jury ", "", "jury_2", "../jury"):
        assert "no installed distribution provides" in refusal(PluginMissingError, name)
    with pytest.raises(PluginMissingError):
        loading.load("signer", "jury")


def test_a_broken_import_is_reported_with_its_reason(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source="import plasm_test_not_there")

    message = refusal(PluginBrokenError)
    assert message.startswith("the verifier jury is installed, but importing plasm_test_jury failed: ")
    assert "ModuleNotFoundError: No module named 'plasm_test_not_there' (" in message
    assert message.endswith("plasm_test_jury.py:1)")


@pytest.mark.parametrize("source", ["this is no Python", "1 / 0", "raise Exception('why')"])
def test_an_exception_of_a_plugins_import_breaks_only_that_plugin(site: Site, source: str) -> None:
    site.verifier("plasm-test-jury", "jury", source=source)
    site.verifier("plasm-test-other", "other")

    assert "importing plasm_test_jury failed" in refusal(PluginBrokenError)
    assert create("other")


def test_an_entry_point_that_names_no_module_is_broken(site: Site) -> None:
    site.install("plasm-test-jury", entry_points={"verifier_jury": "plasm_test_jury:missing"})

    assert "AttributeError" in refusal(PluginBrokenError)


GOOD = verifier("jury")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (GOOD.replace("def plasm_verifier(", "def plasm_verifer("), "unknown hook 'plasm_verifer'"),
        (GOOD.replace("def plasm_verifier():", "def plasm_verifier(config):"), "Argument(s) {'config'}"),
        (GOOD.replace("@hookimpl\n", ""), "its hook plasm_verifier returns 0 classes of that name"),
        (GOOD.replace('name = "jury"', 'name = "jurie"'), "returns 0 classes of that name"),
        (GOOD.replace("return [Jury]", "return []"), "returns 0 classes of that name"),
        (GOOD.replace("return [Jury]", "return [Jury, Jury]"), "returns 2 classes of that name"),
        (GOOD.replace("(Verifier)", ""), "<class 'plasm_test_jury.Jury'> is no Verifier"),
        (GOOD.replace("return [Jury]", "return [Jury()]"), "is no Verifier"),
        (GOOD.replace("return [Jury]", "raise OSError('disk')"), "its hooks fail: OSError: disk"),
        (GOOD.replace("return [Jury]", "return None"), "there is no hook, or it returned nothing"),
        (GOOD.replace('name = "jury"', 'name = "jurie"'), "it returned [<class 'plasm_test_jury.Jury'>]"),
        (
            GOOD.replace("return [Jury]", "return Jury"),
            "returned <class 'plasm_test_jury.Jury'>, which is no list",
        ),
        (GOOD.replace("return [Jury]", "raise OSError('disk')"), "plasm_test_jury.py:"),
    ],
)
def test_a_plugin_that_registers_wrongly_is_refused(site: Site, source: str, reason: str) -> None:
    assert source != GOOD
    site.verifier("plasm-test-jury", "jury", source=source)

    message = refusal(PluginBrokenError)
    assert message.startswith("the verifier jury is installed, but ")
    assert reason in message


def test_a_hook_that_returns_a_class_instead_of_a_list_is_refused(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=GOOD.replace("return [Jury]", "return Jury"))

    assert "hook" in refusal(PluginBrokenError)


def test_the_name_of_one_kind_does_not_serve_another(site: Site) -> None:
    site.install("plasm-test-jury", source=GOOD, entry_points={"signer_jury": "plasm_test_jury"})
    with pytest.raises(PluginBrokenError, match="its hook plasm_signer returns 0 classes"):
        loading.create(Signer, "jury", {})  # type: ignore[type-abstract]
