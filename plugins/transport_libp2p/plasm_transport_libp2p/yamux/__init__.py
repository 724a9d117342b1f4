"""Yamux: many streams on one secured connection (hashicorp/yamux, spec.md; libp2p specification, "yamux").

It replaces py-libp2p's, which lets a peer send beyond its window, reports a broken connection as the end of its
streams, corrupts the connection when a writer is cancelled, polls while a window is empty and gives up after five
seconds, and never notices a peer that has stopped answering.

One task reads frames, one writes them, one pings the peer. Senders put frames into a bounded queue, so that a
cancelled sender leaves no half frame. A peer that sends beyond its window loses the connection.
"""
