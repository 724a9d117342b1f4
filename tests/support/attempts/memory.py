"""Making memory that can be executed."""

from __future__ import annotations

from tests.support.attempts.trying import ATTEMPTS, Action, Attempt, Whereabouts, raw

_PRIVATE_ANONYMOUS = 0x22
_READ, _WRITE, _EXECUTE = 1, 2, 4


def _mapping(protection: int) -> Action:
    return lambda _where: raw("mmap", 0, 4_096, protection, _PRIVATE_ANONYMOUS, -1, 0) > 0


def _protecting(call: str, protection: int, *more: int) -> Action:
    def act(_where: Whereabouts) -> object:
        page = raw("mmap", 0, 4_096, _READ | _WRITE, _PRIVATE_ANONYMOUS, -1, 0)
        return raw(call, page, 4_096, protection, *more)

    return act


ATTEMPTS["map_executable"] = Attempt(_mapping(_READ | _EXECUTE), "anyone")
ATTEMPTS["map_writable_and_executable"] = Attempt(_mapping(_READ | _WRITE | _EXECUTE), "anyone")
ATTEMPTS["map_executable_with_high_bits"] = Attempt(_mapping((1 << 40) | _READ | _EXECUTE), "anyone")
ATTEMPTS["make_executable"] = Attempt(_protecting("mprotect", _READ | _EXECUTE), "anyone")
ATTEMPTS["make_executable_with_key"] = Attempt(_protecting("pkey_mprotect", _READ | _EXECUTE, -1), "anyone")

ALLOWED = {
    "map_memory": Attempt(_mapping(_READ | _WRITE), "anyone"),
    "protect_memory": Attempt(_protecting("mprotect", _READ), "anyone"),
}
"""What a worker must be able to do. That these succeed shows that the others are tried by right means."""
