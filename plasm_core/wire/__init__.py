"""The job protocol, sans-io: bytes in, events out. `docs/protocol.md` is its specification."""
