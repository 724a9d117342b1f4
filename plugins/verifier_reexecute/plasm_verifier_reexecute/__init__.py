"""Judges a receipt by running its job again."""
