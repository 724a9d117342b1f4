"""The V8 engine, of the wheel mini-racer. `runtime` is what is configured; `engine` works in child processes."""
