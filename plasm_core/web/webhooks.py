"""Webhooks: a job's end is posted to a URL, by the scheme of Standard Webhooks, until the URL answers.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

What is waiting is in the table of jobs, so that it survives a restart. A message has the job and its receipt, never
its output.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from datetime import datetime, timezone
from typing import Any

import attrs
import trio

from plasm_core import paths
from plasm_core.errors import PlasmError
from plasm_core.fair_shares import Holder, Room, Shares
from plasm_core.metrics import Counters
from plasm_core.randomness import RANDOM
from plasm_core.web.bearer_tokens import web_directory
from plasm_core.web.job_json import moment
from plasm_core.web.job_table import WebJob, WebJobTable
from plasm_core.web.web_jobs import WebJobs
from plasm_core.web.webhook_delivery import Allowed, DeliveryError, WebhookUrlError, deliver

log = logging.getLogger(__name__)

PAUSES_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""From each failed attempt to the next: the schedule that the specification recommends, three days in all."""
_SPREAD = 0.1
_AT_ONCE = 16
_LOOK_S = 5.0
_MAX_PROBLEM_CHARACTERS = 300
_GONE = 410
"""A receiver that answers this wants no more messages."""


def signature(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`."""
    signed = f"{message}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def secret_of(owner: str) -> bytes:
    """Return the secret that a token's messages are signed with. Raises: OSError."""
    root = paths.secret(web_directory() / "webhook.key")
    return hmac.new(root, b"phase.webhook/v0:" + owner.encode(), hashlib.sha256).digest()


def secret_text(owner: str) -> str:
    """Return the secret in the form in which receivers take it."""
    return "whsec_" + base64.b64encode(secret_of(owner)).decode()


def body_of(job: WebJob, told: dict[str, Any], at: datetime) -> bytes:
    """Return the body of the message about a job's end."""
    receipt = None if job.envelope is None else json.loads(job.envelope)
    message = {"type": "job.ended", "timestamp": moment(at), "data": {"job": told, "receipt": receipt}}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


@attrs.define
class Webhooks:
    """Delivers what is due. `counters`: counts deliveries by how they ended."""

    jobs: WebJobs
    table: WebJobTable
    allowed: Allowed
    counters: Counters = attrs.field(factory=Counters)
    _due: trio.Event = attrs.field(factory=trio.Event)

    def attach(self) -> None:
        """Begin to look as soon as a job has ended."""
        self.jobs.observers.append(lambda _job, _status: self._due.set())

    async def run(self) -> None:
        """Deliver for ever.

        Owners share the attempts that go on at once: one whose receivers do not answer leaves some for others.
        """
        places = Shares(_AT_ONCE)
        under_way: set[int] = set()
        async with trio.open_nursery() as nursery:
            while True:
                self._due = trio.Event()
                try:
                    found = await trio.to_thread.run_sync(self.table.due_webhooks, time.time(), _AT_ONCE * 4)
                except PlasmError as exc:
                    log.error("webhooks cannot be read reason=%s", exc)
                    found = []
                for number, owner in found:
                    holder = Holder(names=(owner,))
                    if number not in under_way and places.take(holder) is Room.FREE:
                        under_way.add(number)
                        nursery.start_soon(self._attempt, number, places, holder, under_way)
                with trio.move_on_after(_LOOK_S):
                    await self._due.wait()

    async def _attempt(self, number: int, places: Shares, holder: Holder, under_way: set[int]) -> None:
        try:
            await self._deliver(number)
        except PlasmError as exc:
            log.error("a webhook's state cannot be stored reason=%s", exc)
            await trio.sleep(_LOOK_S)  # the delivery is still due
        finally:
            under_way.discard(number)
            places.give_back(holder)
            self._due.set()

    async def _deliver(self, number: int) -> None:
        job = await trio.to_thread.run_sync(self.table.numbered, number)
        if job is None or job.webhook is None or job.status is None:
            return
        hook, now = job.webhook, datetime.now(timezone.utc)
        body = body_of(job, self.jobs.told(job, job.status), now)
        timestamp = int(now.timestamp())
        try:
            secret = await trio.to_thread.run_sync(secret_of, job.owner)
            headers = [
                ("webhook-id", hook.message),
                ("webhook-timestamp", str(timestamp)),
                ("webhook-signature", signature(secret, hook.message, timestamp, body)),
            ]
            await deliver(hook.url, body, headers, self.allowed)
        except (DeliveryError, WebhookUrlError, OSError) as exc:
            await self._failed(job, hook.attempts + 1, exc)
            return
        except Exception as exc:  # a client named the URL: no text in it may end the server
            log.exception("webhook attempt failed job=%s", job.job_id)
            await self._failed(job, hook.attempts + 1, exc)
            return
        self.counters.add("webhooks_total", result="delivered")
        log.info("webhook delivered job=%s attempt=%d", job.job_id, hook.attempts + 1)
        await trio.to_thread.run_sync(self.table.webhook_done, number, hook.attempts + 1, None)

    async def _failed(self, job: WebJob, attempts: int, exc: Exception) -> None:
        problem = str(exc)[:_MAX_PROBLEM_CHARACTERS]
        final = attempts > len(PAUSES_S) or getattr(exc, "status", None) == _GONE
        final = final or isinstance(exc, WebhookUrlError)
        self.counters.add("webhooks_total", result="failed" if final else "retried")
        log.warning(
            "webhook failed job=%s attempt=%d final=%s reason=%s", job.job_id, attempts, final, problem
        )
        if final:
            await trio.to_thread.run_sync(self.table.webhook_done, job.number, attempts, problem)
            return
        pause_s = PAUSES_S[attempts - 1] * RANDOM.uniform(1 - _SPREAD, 1 + _SPREAD)
        await trio.to_thread.run_sync(
            self.table.webhook_again, job.number, attempts, time.time() + pause_s, problem
        )
