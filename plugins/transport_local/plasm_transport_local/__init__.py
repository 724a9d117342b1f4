"""Carries streams between a daemon and its clients over Unix sockets."""
