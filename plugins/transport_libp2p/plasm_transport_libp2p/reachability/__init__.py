"""Finding out whether others reach this node: `/phase/reachability/1.0.0` (docs/network.md)."""
