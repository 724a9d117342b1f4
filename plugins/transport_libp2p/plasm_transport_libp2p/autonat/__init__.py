"""Reachability checks by dial-back, `/phase/reachability/1.0.0` (docs/network.md), after libp2p's AutoNAT v2."""
