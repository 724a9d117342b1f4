"""A router that forwards ports when it is asked to: miniupnpd, which speaks UPnP and NAT-PMP."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.namespaces import DEADLINE_S, Namespace
from tests.lab.nat import INSIDE, OUTSIDE

_TABLE = "inet filter"
_CHAINS = f"""
table {_TABLE} {{
    chain forward {{
        type filter hook forward priority -10; policy accept;
        jump miniupnpd
    }}
    chain miniupnpd {{ }}
    chain prerouting {{
        type nat hook prerouting priority -100; policy accept;
        jump prerouting_miniupnpd
    }}
    chain prerouting_miniupnpd {{ }}
    chain postrouting {{
        type nat hook postrouting priority 90; policy accept;
        jump postrouting_miniupnpd
    }}
    chain postrouting_miniupnpd {{ }}
}}
"""
_DENY_ALL = "deny 0-65535 0.0.0.0/0 0-65535\n"

# How nft shows the field of the IP header depends on its age.
_PROTOCOLS = {6: "tcp", 17: "udp", "tcp": "tcp", "udp": "udp"}

Forwarded = tuple[str, int, str, int]
"""A protocol, a port of the router's, and the address and port inside that it leads to."""


class Miniupnpd:
    """The daemon in a router's namespace. `deny`: answer, and refuse every port."""

    def __init__(
        self, namespace: Namespace, *, upnp: bool = True, natpmp: bool = True, deny: bool = False
    ) -> None:
        self._namespace = namespace
        self._settings = {
            "ext_ifname": OUTSIDE,
            "listening_ip": INSIDE,
            "enable_natpmp": "yes" if natpmp else "no",
            "enable_upnp": "yes" if upnp else "no",
            "secure_mode": "yes",
            "http_port": "0",
            "uuid": "5f0ca0d5-1d59-4d5a-9a2c-6f3c4d1d7e11",
        }
        self._deny = deny
        self._directory = Path("/run") / namespace.name
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Miniupnpd:
        self._directory.mkdir(mode=0o700)
        try:
            settings = "".join(f"{name}={value}\n" for name, value in self._settings.items())
            (self._directory / "conf").write_text(settings + (_DENY_ALL if self._deny else ""))
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for path in self._directory.iterdir():
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        self._directory.rmdir()

    def start(self) -> None:
        """Begin with no port forwarded."""
        self._namespace.nft(f"table {_TABLE} {{ }}\ndelete table {_TABLE}\n{_CHAINS}")
        assert self.forwarded() == set()  # once the daemon runs, a node may ask at any moment
        file, pid = str(self._directory / "conf"), str(self._directory / "pid")
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._namespace.command("miniupnpd", "-d", "-f", file, "-P", pid),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """End as by pulling the plug, and forward nothing any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)
            self._process = None
            self._namespace.nft(f"table {_TABLE} {{ }}\ndelete table {_TABLE}\n")

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._directory / "log").read_text()

    def forwarded(self) -> set[Forwarded]:
        """Return the ports that the kernel forwards at this daemon's behest."""
        told = self._namespace.run("nft", "--json", "list", "chain", *_TABLE.split(), "prerouting_miniupnpd")
        rules = [item["rule"]["expr"] for item in json.loads(told)["nftables"] if "rule" in item]
        return {_read(rule) for rule in rules}


def _read(rule: list[dict[str, Any]]) -> Forwarded:
    """Return what a rule does, as nft's JSON has it (libnftables-json(5))."""
    matched = [item["match"] for item in rule if "match" in item]
    target = next(item["dnat"] for item in rule if "dnat" in item)
    protocol = next(_PROTOCOLS[item["right"]] for item in matched if item["right"] in _PROTOCOLS)
    port = next(item["right"] for item in matched if item["left"].get("payload", {}).get("field") == "dport")
    return protocol, int(port), str(target["addr"]), int(target["port"])
