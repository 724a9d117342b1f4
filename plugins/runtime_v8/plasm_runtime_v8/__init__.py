"""The V8 engine, from the wheel mini-racer. `runtime` has the configuration; `engine` works in child processes."""
