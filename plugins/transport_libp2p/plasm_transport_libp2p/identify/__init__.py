"""Identify (libp2p specification, "identify"): which addresses and protocols a peer has."""
