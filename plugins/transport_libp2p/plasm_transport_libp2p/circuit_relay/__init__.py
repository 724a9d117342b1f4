"""Circuit relay v2 (libp2p specification, "relay/circuit-v2"): connections to peers behind a NAT."""
