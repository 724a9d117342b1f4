"""The job protocol, sans-io: bytes in, events out. `docs/protocol.md` is its specification."""

JOB_PROTOCOL = "/phase/job/1.0.0"
CAPABILITIES_PROTOCOL = "/phase/capabilities/1.0.0"
