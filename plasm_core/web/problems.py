"""Errors as problems (RFC 9457), each with a stable code, a status and a hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse, Response

from plasm_core.errors import (
    ConfigError,
    ConnectionLostError,
    InvalidRecordError,
    PeerUnreachableError,
    PlasmError,
    ProtocolError,
    RefusedError,
    StorageError,
    StorageFullError,
    TransportError,
    WaitTimeoutError,
)
from plasm_core.web.api_operations import PROBLEM_TYPE

_OF_REASONS = {
    "unknown_job": 404,
    "released": 410,
    "expired": 410,
    "input_too_large": 413,
    "queue_full": 429,
    "too_many_offers": 429,
    "storage_full": 503,
    "storage_failed": 503,
    "shutting_down": 503,
    "offer_expired": 503,
    "module_missing": 503,
}
_TITLES = {
    "unauthorized": "A valid token is needed",
    "forbidden": "Not permitted",
}


class ApiProblem(PlasmError):
    """An error that the HTTP API answers with. `code` is stable, `status` the HTTP status."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        hint: str | None = None,
        retry_after_s: int | None = None,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(detail, hint=hint)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.job_id = job_id

    def to_json(self) -> dict[str, Any]:
        """Return the problem as the data of its JSON."""
        found: dict[str, Any] = {
            "type": f"urn:phase:problem:{self.code}",
            "title": _TITLES.get(self.code, self.code.replace("_", " ").capitalize()),
            "status": self.status,
            "code": self.code,
            "detail": str(self),
            "hint": self.hint,
            "retryAfterS": self.retry_after_s,
            "errors": [{"path": path, "message": message} for path, message in self.errors] or None,
            "jobId": self.job_id,
        }
        return {name: value for name, value in found.items() if value is not None}

    def response(self) -> Response:
        """Return the answer that says it."""
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        return JSONResponse(self.to_json(), self.status, headers, media_type=PROBLEM_TYPE)


def problem_of(exc: Exception) -> ApiProblem:
    """Return the problem that an error is."""
    if isinstance(exc, ApiProblem):
        return exc
    hint = exc.hint if isinstance(exc, PlasmError) else None
    if isinstance(exc, RefusedError):
        status = _OF_REASONS.get(exc.reason, 429 if exc.retry_after_s is not None else 422)
        return ApiProblem(status, exc.reason, str(exc), hint=hint, retry_after_s=exc.retry_after_s)
    if isinstance(exc, InvalidRecordError):
        return ApiProblem(422, "invalid_record", str(exc), hint=hint, errors=exc.problems)
    for kind, status, code in _OF_ERRORS:
        if isinstance(exc, kind):
            return ApiProblem(status, code, str(exc), hint=hint)
    return ApiProblem(500, "internal", "the server failed", hint="its log says why")


_OF_ERRORS: Sequence[tuple[type[Exception], int, str]] = (
    (WaitTimeoutError, 504, "node_timeout"),
    (ConfigError, 503, "misconfigured"),
    (PeerUnreachableError, 503, "node_unreachable"),
    (TransportError, 503, "node_unreachable"),
    (ConnectionLostError, 503, "node_unreachable"),
    (ProtocolError, 502, "node_protocol"),
    (StorageFullError, 503, "storage_full"),
    (StorageError, 503, "storage_failed"),
)


def not_found(what: str) -> ApiProblem:
    """Return the problem of something that is not there, or not this token's."""
    return ApiProblem(404, "not_found", f"there is no {what}")


def invalid(path: str, message: str) -> ApiProblem:
    """Return the problem of one wrong field."""
    return ApiProblem(422, "invalid_request", f"{path}: {message}", errors=((path, message),))
