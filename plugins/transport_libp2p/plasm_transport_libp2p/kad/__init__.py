"""Kademlia (libp2p specification, "kad-dht"): peer routing and provider records, no value storage.

It replaces py-libp2p's, which puts clients into its routing table, keeps records for two days without a bound, dials
any address that a peer reports, and has a fixed protocol id.
"""
