"""A runtime that does not do what it should: `runtime` is configured, `engine` works in child processes."""
