"""Yamux: many streams on one secured connection (hashicorp/yamux, spec.md; libp2p specification, "yamux").

Written anew because the library's muxer lets a peer send beyond its window, takes a broken connection for the
end of its streams, corrupts the connection when a writer is cancelled, polls while a window is empty and gives
up after five seconds, and never notices a peer that has stopped answering.

Here one task reads frames, one writes them, one watches the peer. Whoever sends puts frames into a bounded
queue, so that cancelling it breaks nothing; what a peer may send ahead is its window, and more ends the
connection.
"""
