"""From untrusted bytes to an outcome: admission, metering, the WASI host, worker processes."""
