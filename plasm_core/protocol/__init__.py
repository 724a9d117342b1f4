"""The job protocol, sans-io: bytes in, events out. `docs/protocol.md` is its specification."""

JOB_PROTOCOL = "/phase/job/1.0.0"
HEALTH_PROTOCOL = "/plasm/health/1.0.0"
"""Spoken on the daemon's own socket only (`plasm_core.daemon.admin.health`)."""
METRICS_PROTOCOL = "/plasm/metrics/1.0.0"
"""Spoken on the daemon's own socket only (`plasm_core.daemon.admin.metrics`)."""
JOBS_PROTOCOL = "/plasm/jobs/1.0.0"
CANCEL_PROTOCOL = "/plasm/cancel/1.0.0"
"""Spoken on the daemon's own socket with the user that runs it only (`plasm_core.daemon.admin.all_jobs`)."""
CAPABILITIES_PROTOCOL = "/phase/capabilities/1.0.0"

ANY_NODE = "wasi/preview1"
"""The class of every node that runs strangers' jobs (docs/network.md)."""
