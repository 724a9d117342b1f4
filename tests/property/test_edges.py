"""What people type never brings up another error than one in words."""

from __future__ import annotations

import contextlib

import click
from hypothesis import example, given
from hypothesis import strategies as st

from plasm_core import config
from plasm_core.cli import option_values
from plasm_core.cli.verify import parse_key
from plasm_core.client.opening import _pinned
from plasm_core.errors import ConfigError, PlasmError
from plasm_core.input_file import open_input
from plasm_core.output_file import OutputFile
from plasm_core.records import Handle

PEER = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8"
TEXT = st.text(max_size=120)
_PIECES = st.sampled_from(
    [
        *(
            "ip4",
            "ip6",
            "ip6zone",
            "ipcidr",
            "dns",
            "dnsaddr",
            "tcp",
            "udp",
            "quic-v1",
            "ws",
            "tls",
            "sni",
            "p2p",
            "ipfs",
        ),
        *(
            "p2p-circuit",
            "unix",
            "onion3",
            "garlic64",
            "certhash",
            "http-path",
            "memory",
            "webrtc-direct",
            "lo",
            "%eth0",
        ),
        *(
            "127.0.0.1",
            "::1",
            "fe80::1%eth0",
            "fe80::1%a b",
            "4001",
            "65536",
            "-1",
            "x",
            "",
            " ",
            "\n",
            "\0",
            PEER,
            "bafz",
        ),
    ]
)
ADDRESSES = st.lists(_PIECES | st.text(max_size=12), max_size=8).map(lambda parts: "/" + "/".join(parts))


@given(ADDRESSES | TEXT)
@example(f"/ip6zone/lo/ip6/::1/tcp/1/p2p/{PEER}")
@example(f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}/")
def test_a_peer(text: str) -> None:
    try:
        found, addresses = _pinned(text)
    except ConfigError:
        return
    assert found is not None
    assert all(address.endswith(f"/p2p/{found}") for address in addresses)


@given(TEXT)
@example("k" * 64)
@example("12D3-of-my-node.pem")
@example("a\0b")
@example("x" * 5000)
def test_a_key(text: str) -> None:
    with contextlib.suppress(click.BadParameter):
        parse_key(text)


@given(TEXT)
def test_a_handle(text: str) -> None:
    with contextlib.suppress(PlasmError):
        Handle.parse(text)


@given(
    st.lists(TEXT, max_size=3),
    st.dictionaries(st.from_regex("PLASM_[A-Z_]{0,20}", fullmatch=True), TEXT, max_size=3),
)
@example(["a = 1\nb=2"], {})
@example(["admission.cpu_s=" + "[" * 5000], {})
@example([], {"PLASM_VERIFIER": ","})
def test_settings(settings: list[str], environ: dict[str, str]) -> None:
    environ = {name: value.replace("\0", "") for name, value in environ.items() if name != "PLASM_CONFIG"}
    with contextlib.suppress(ConfigError):
        config.load(settings=settings, environ=environ)


@given(TEXT)
@example("9" * 20 + "e99")
@example("1e99g")
def test_numbers(text: str) -> None:
    for read in (option_values.quantity, option_values.seconds):
        with contextlib.suppress(click.BadParameter):
            assert read(text, what="x") >= 0
    with contextlib.suppress(click.BadParameter):
        option_values.limits((f"gas={text}", f"memory={text}", f"wall={text}"))


@given(st.text(max_size=300).filter(lambda text: not text.startswith(("/dev", "/proc"))))
@example("/dev/fd/99999999999999999999")
def test_paths(text: str) -> None:
    try:
        open_input(text).close()
    except OSError as exc:
        assert exc.strerror
    with contextlib.suppress(PlasmError):
        OutputFile.prepared(text)
