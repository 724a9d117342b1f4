"""The wasmer engine. `runtime` has the configuration; `engine` works in child processes."""
