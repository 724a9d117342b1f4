"""Find out whether peers reach this node, and make it reachable if they do not.

This package composes the protocol packages: AutoNAT tests whether a dial succeeds, `nat` maps ports, `circuit_relay`
keeps reservations at relays, and the directory (`kad`) receives the verified addresses.
"""
