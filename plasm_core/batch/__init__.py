"""Batches: many jobs of one module, kept in a folder, so that an interrupted batch goes on where it was."""
