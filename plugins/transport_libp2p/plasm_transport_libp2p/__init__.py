"""Carries streams between nodes over libp2p: QUIC, and TCP with Noise and yamux; finds nodes by Kademlia."""
