"""Port mappings asked of the router: UPnP IGD, and NAT-PMP (RFC 6886)."""
