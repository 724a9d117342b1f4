"""The daemon's answers to its own users about itself: health, metrics, and its capability record."""
