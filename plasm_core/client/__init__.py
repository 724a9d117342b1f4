"""Handing jobs to nodes and taking their verified results."""

from plasm_core.client.aio import AsyncClient, open_client
from plasm_core.client.blocking import Client
from plasm_core.client.result import JobResult
from plasm_core.client.submission import Submission

__all__ = ["AsyncClient", "Client", "JobResult", "Submission", "open_client"]
