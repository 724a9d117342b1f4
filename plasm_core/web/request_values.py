"""Values of a request's headers and query, each checked: what is wrong is answered as a problem."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.requests import Request

from plasm_core.web.api_operations import MAX_WAIT_S
from plasm_core.web.problems import ApiProblem, invalid

_MAX_ACCEPTED = 32
_WAIT = re.compile(r"wait=\"?([0-9]{1,6})\"?", re.IGNORECASE)


def preferred_wait(request: Request) -> int:
    """Return the seconds of `Prefer: wait=N`, at most `MAX_WAIT_S`; 0 if there is none."""
    for given in request.headers.getlist("prefer"):
        for item in given.split(","):
            if found := _WAIT.fullmatch(item.strip()):
                return min(int(found.group(1)), MAX_WAIT_S)
    return 0


def applied(seconds: int) -> Mapping[str, str]:
    return {"Preference-Applied": f"wait={seconds}"} if seconds else {}


def accepted(request: Request, known: tuple[str, ...]) -> str:
    """Return the media type that Accept prefers out of those known; the first if it has none. Raises: `ApiProblem`."""
    header = ",".join(request.headers.getlist("accept")) or "*/*"
    wanted = [
        (name, _weight(parameters))
        for name, *parameters in (
            [part.strip().lower() for part in item.split(";")] for item in header.split(",")[:_MAX_ACCEPTED]
        )
    ]
    weights = [max((weight for name, weight in wanted if _fits(name, kind)), default=0.0) for kind in known]
    if not any(weights):
        raise ApiProblem(406, "not_acceptable", f"the types of this answer are {', '.join(known)}")
    return known[weights.index(max(weights))]


def _fits(name: str, kind: str) -> bool:
    return name in (kind, "*/*") or (name.endswith("/*") and kind.startswith(name[:-1]))


def _weight(parameters: list[str]) -> float:
    for item in parameters:
        if found := re.fullmatch(r"q=([01](?:\.[0-9]{0,3})?)", item):
            return float(found.group(1))
    return 1.0


def whole(request: Request, name: str, minimum: int, maximum: int, default: int | None) -> int | None:
    """Return a whole number of the query, `default` if it is not given. Raises: `ApiProblem`."""
    given = request.query_params.getlist(name)
    if not given:
        return default
    if len(given) > 1 or not re.fullmatch("[0-9]{1,16}", given[0]) or not minimum <= int(given[0]) <= maximum:
        raise invalid(name, f"expected a whole number from {minimum} to {maximum}")
    return int(given[0])


def truth(request: Request, name: str, *, default: bool) -> bool:
    """Return a truth value of the query. Raises: `ApiProblem`."""
    given = request.query_params.getlist(name)
    if not given:
        return default
    if len(given) > 1 or given[0] not in ("true", "false"):
        raise invalid(name, "expected true or false")
    return given[0] == "true"
