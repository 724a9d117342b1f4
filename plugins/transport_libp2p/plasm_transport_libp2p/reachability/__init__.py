"""Whether peers reach this node, and what it does where they do not.

This package composes the protocol packages: AutoNAT says whether a dial gets in, `nat` maps ports, `circuit_relay`
keeps reservations at relays, and the directory (`kad`) is told which addresses are true.
"""
