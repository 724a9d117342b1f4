"""Direct connection upgrade through relay (libp2p specification, "relay/DCUtR")."""
