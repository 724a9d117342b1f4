"""The metric series of a daemon. All exist from its start, so that a rate is 0 before the first event."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from plasm_core.metrics import Counters
from plasm_core.records.outcome import CLAIMED, RECHECKABLE

REASONS = (
    *("capability_denied", "compile_failed", "compile_limit", "digest_mismatch", "expired", "feature"),
    *("input_too_large", "invalid", "invalid_manifest", "limit_too_high", "memory_limit", "module_missing"),
    *("no_gateway", "offer_expired", "policy", "queue_full", "released", "shutting_down", "storage_failed"),
    *("storage_full", "too_many_offers", "unknown_job", "unsupported_feature"),
)
"""Reasons of refusal (docs/protocol.md) that begin at 0. What is wrong with a module is counted once it was seen."""

HELP: Mapping[str, str] = MappingProxyType(
    {
        "build_info": "The release of Plasm and of Python; the value is 1.",
        "connection_seconds_total": "How long connections lasted that are closed, in seconds.",
        "connections_closed_total": "Connections of the network that were closed.",
        "connections_open": "Connections of the network that are open.",
        "connections_refused_total": "Connections of the network that were refused, by reason.",
        "connections_total": "Connections of the network that were opened.",
        "dial_seconds_total": "How long dialling took, in seconds, by result.",
        "dials_total": "Peers that were dialled, by result.",
        "directory_messages_total": "Messages of the directory, by type and direction.",
        "directory_neighbours": "Peers in the routing table of the directory.",
        "job_bytes": "Inputs and outputs of all jobs on the disk, with what is reserved for them, in bytes.",
        "job_cpu_seconds_total": "Processor time of jobs, in seconds.",
        "job_gas_total": "Gas of jobs.",
        "job_node_cpu_seconds_total": "Processor time that the node spent on jobs beside their runs, in seconds.",
        "jobs_accepted_total": "Jobs that were accepted, by where they run.",
        "jobs_ended_total": "Jobs that have ended, by outcome.",
        "jobs_refused_total": "Jobs and questions that were refused, by reason.",
        "jobs_running": "Jobs that run.",
        "jobs_waiting": "Jobs that wait.",
        "memory_idle_bytes": "Memory of idle workers and zygotes, in bytes.",
        "memory_lent_bytes": "Memory that jobs may have together, in bytes.",
        "memory_taken_bytes": "Memory reserved for running jobs, in bytes.",
        "offers_open": "Jobs that are being uploaded.",
        "offers_total": "Jobs whose upload was begun.",
        "queue_oldest_seconds": "How long the job that was accepted first among those that wait has waited, in seconds.",
        "received_bytes_total": "Inputs and modules that were received, in bytes.",
        "sent_bytes_total": "Outputs that were sent, in bytes.",
        "sessions_broken_total": "Conversations with clients that broke, by code.",
        "sessions_total": "Conversations with clients.",
        "start_time_seconds": "When the daemon started, in seconds since 1970.",
        "state_free_bytes": "Room on the file system of the state directory, in bytes.",
        "state_size_bytes": "Size of the file system of the state directory, in bytes.",
        "streams_open": "Streams of the network that are open.",
        "tasks": "Tasks of the daemon's loop.",
    }
)
"""What each metric counts. A plugin's metric without an entry is described by its name."""


def begin(counters: Counters) -> None:
    """Let the service's counters begin at 0."""
    for name in ("sessions_total", "offers_total", "received_bytes_total", "sent_bytes_total"):
        counters.add(name, 0)
    for name in ("job_cpu_seconds_total", "job_gas_total", "job_node_cpu_seconds_total"):
        counters.add(name, 0)
    for route in ("here", "network"):
        counters.add("jobs_accepted_total", 0, route=route)
    for outcome in (*RECHECKABLE, *CLAIMED):
        counters.add("jobs_ended_total", 0, outcome=outcome)
    for reason in REASONS:
        counters.add("jobs_refused_total", 0, reason=reason)
    for code in ("internal", "protocol", "superseded", "timeout"):
        counters.add("sessions_broken_total", 0, code=code)
