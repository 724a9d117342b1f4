"""Circuit relay v2 (libp2p specification, "relay/circuit-v2"): reaching nodes that nobody reaches straight."""
