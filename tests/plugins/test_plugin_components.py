"""Configure plugins from their tables, see what they lack, and list them all."""

import sys
from typing import Any

import pytest

from plasm_core.errors import ConfigError, PlasmError, PluginBrokenError, PluginMissingError
from plasm_core.plugins import loading
from plasm_core.plugins.interfaces import KINDS, Verifier
from plasm_core.plugins.loading import PluginInfo
from tests.support.distributions import Site, verifier

JURY = verifier("jury", fields="replicas: int = 3")
PLAIN = verifier("jury").replace("@attrs.frozen(kw_only=True)\n", "")


def needing(library: str) -> str:
    return verifier("jury", fields=f'requires = ("{library}",); install = "pip install it"')


def create(name: str, **table: Any) -> Verifier:
    return loading.create(Verifier, name, table)  # type: ignore[type-abstract]


def test_a_plugin_is_configured_from_its_table(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=JURY)

    assert create("jury").replicas == 3  # type: ignore[attr-defined]
    assert create("jury", replicas=5).replicas == 5  # type: ignore[attr-defined]


def test_a_typo_in_the_table_is_named_with_its_path(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=JURY)
    with pytest.raises(ConfigError) as caught:
        create("jury", replicaz=5, replicas=4, x=1)

    assert str(caught.value) == (
        "verifier.jury.replicaz: unknown field, did you mean replicas?; verifier.jury.x: unknown field"
    )


@pytest.mark.parametrize("source", [PLAIN, verifier("jury")])
def test_a_component_without_fields_takes_no_table(site: Site, source: str) -> None:
    site.verifier("plasm-test-jury", "jury", source=source)
    with pytest.raises(ConfigError, match=r"^verifier\.jury\.replicas: unknown field$"):
        create("jury", replicas=5)


def test_a_wrong_value_in_the_table_is_named_with_its_path(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=JURY)
    with pytest.raises(ConfigError, match=r"^verifier\.jury\.replicas: "):
        create("jury", replicas="many")


def test_every_kind_has_a_hook_of_its_name() -> None:
    from plasm_core.plugins import hookspecs

    hooks = {name.removeprefix("plasm_") for name in vars(hookspecs) if name.startswith("plasm_")}
    assert hooks == set(KINDS)
    for kind in KINDS:
        assert getattr(hookspecs, f"plasm_{kind}").__doc__


def by_name() -> dict[str, PluginInfo]:
    return {f"{item.kind}_{item.name}": item for item in loading.inventory()}


def test_the_inventory_tells_installed_missing_broken_and_conflicting_apart(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(loading.CATALOGUE, "runtime_testengine", "pip install 'phase-plasm[testengine]'")
    site.verifier("plasm-test-good", "good")
    site.verifier("plasm-test-broken", "broken", source="1 / 0")
    site.verifier("plasm-test-one", "both")
    site.verifier("plasm-test-two", "both")
    site.install("plasm-test-kind", entry_points={"oracle_x": "plasm_test_kind", "odd": "plasm_test_kind"})

    found = by_name()

    assert found["verifier_good"] == PluginInfo(
        kind="verifier", name="good", state="installed", distribution="plasm-test-good", version="1.2.3"
    )
    assert (found["verifier_broken"].state, found["verifier_both"].state) == ("broken", "conflict")
    assert "ZeroDivisionError" in str(found["verifier_broken"].reason)
    missing = found["runtime_testengine"]
    assert (missing.state, missing.install) == ("missing", "pip install 'phase-plasm[testengine]'")
    assert missing.distribution is missing.version is None
    assert found["oracle_x"].reason == "there is no kind of plugin oracle"
    assert found["odd_"].state == "broken"
    assert {found[name].state for name in ("signer_ed25519", "verifier_signature")} == {"installed"}


def test_a_missing_library_is_named_with_the_command(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=needing("plasm_test_library"))
    with pytest.raises(PluginMissingError) as caught:
        create("jury")

    message = "the verifier jury needs the library plasm_test_library, which is not installed"
    assert (str(caught.value), caught.value.hint) == (message, "install it with: pip install it")
    listed = by_name()["verifier_jury"]
    assert (listed.state, listed.reason, listed.install) == ("missing", message, "pip install it")


def test_a_library_that_does_not_support_this_python_is_reported_without_a_command(site: Site) -> None:
    """The command would fail, deep inside the build of a library."""
    fields = 'requires = ("plasm_test_library",); install = "pip install it"; newest_python = (3, 9)'
    site.verifier("plasm-test-jury", "jury", source=verifier("jury", fields=fields))
    with pytest.raises(PluginMissingError) as caught:
        create("jury")

    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert str(caught.value) == (
        f"the verifier jury needs the library plasm_test_library, which cannot be installed for Python {version}"
    )
    assert str(caught.value.hint).startswith("install Plasm with Python 3.9 or older")
    assert by_name()["verifier_jury"].install is None


def test_a_missing_library_with_a_dotted_name_is_named_too(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=needing("plasm_test_library.inner"))

    with pytest.raises(PluginMissingError, match=r"plasm_test_library\.inner"):
        create("jury")


def test_a_plugin_that_is_misconfigured_is_listed_with_the_reason(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury")
    tables = {("verifier", "jury"): {"replicaz": 1}}
    found = loading.inventory(lambda kind, name: tables.get((kind, name), {}))

    (listed,) = [item for item in found if item.name == "jury"]
    assert (listed.state, listed.reason) == ("broken", "verifier.jury.replicaz: unknown field")


@pytest.mark.parametrize("source", [PLAIN, verifier("jury")], ids=["plain", "attrs"])
@pytest.mark.parametrize("method", ["__init__", "check"])
def test_an_exception_of_a_plugins_constructor_breaks_only_that_plugin(
    site: Site, source: str, method: str
) -> None:
    """`plasm plugins` and `plasm doctor` make every plugin there is."""
    own = source.replace(
        "    def judge", f"    def {method}(self): raise OSError('no such device')\n\n    def judge"
    )
    site.verifier("plasm-test-jury", "jury", source=own)
    site.verifier("plasm-test-good", "good")

    with pytest.raises(PlasmError, match="jury"):
        create("jury")
    listed = by_name()
    assert (listed["verifier_jury"].state, listed["verifier_good"].state) == ("broken", "installed")


def test_a_class_that_lacks_a_method_is_broken_not_misconfigured(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=verifier("jury", method="decide"))
    with pytest.raises(PluginBrokenError, match="judge"):
        create("jury")


def test_a_class_without_fields_that_lacks_a_method_is_broken(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=PLAIN.replace("def judge", "def decide"))
    with pytest.raises(PluginBrokenError, match="judge"):
        create("jury")


FIELDS = """engines: tuple[str, ...] = ()
    names: list[str] = attrs.field(factory=list)
    weights: dict[str, int] = attrs.field(factory=dict)
    replicas: int = 3
    share: float = 0.5
    strict: bool = False
    label: str = "x"
    note: str | None = None
    pair: tuple[int, str] = (1, "a")"""


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"engines": "wasm3"}, "engines: expected a list, got the string 'wasm3'"),
        ({"engines": ["wasm3", 5]}, "engines: item 2: expected a string, got the number 5"),
        ({"engines": {"wasm3": 1}}, "engines: expected a list, got the table"),
        ({"names": "wasm3"}, "names: expected a list"),
        ({"weights": ["a"]}, "weights: expected a table, got the list"),
        ({"weights": {"a": "5"}}, "weights: a: expected a whole number, got the string '5'"),
        ({"replicas": "5"}, "replicas: expected a whole number, got the string '5'"),
        ({"replicas": 1.5}, "replicas: expected a whole number, got the number 1.5"),
        ({"replicas": True}, "replicas: expected a whole number"),
        ({"share": "half"}, "share: expected a number"),
        ({"strict": "no"}, "strict: expected true or false, got the string 'no'"),
        ({"strict": 1}, "strict: expected true or false"),
        ({"label": 5}, "label: expected a string, got the number 5"),
        ({"label": ["x"]}, "label: expected a string, got the list"),
        ({"note": 5}, "note: expected a string"),
        ({"pair": [1]}, "pair: expected a list of 2 items, got 1"),
    ],
)
def test_a_wrong_type_in_the_table_is_an_error(site: Site, table: dict[str, Any], message: str) -> None:
    """And not converted: a string is no list of its letters, and "no" is not true."""
    site.verifier("plasm-test-jury", "jury", source=verifier("jury", fields=FIELDS))
    with pytest.raises(ConfigError) as caught:
        create("jury", **table)

    assert str(caught.value).startswith(f"verifier.jury.{message}")


def test_right_types_in_the_table_are_taken(site: Site) -> None:
    site.verifier("plasm-test-jury", "jury", source=verifier("jury", fields=FIELDS))

    made: Any = create(
        "jury",
        engines=["a", "b"],
        names=["c"],
        weights={"a": 1},
        share=1,
        strict=True,
        note="n",
        pair=[2, "b"],
    )

    assert (made.engines, made.names, made.weights) == (("a", "b"), ["c"], {"a": 1})
    assert (made.share, made.strict, made.note, made.pair) == (1.0, True, "n", (2, "b"))
