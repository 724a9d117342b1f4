"""Kademlia as libp2p speaks it (libp2p specification, "kad-dht"), for peers and providers; it stores no values.

Written anew because the library's takes clients into its routing table, keeps whatever a stranger sends for two
days and without bound, dials any address it is told, and has its protocol's name fixed.
"""
