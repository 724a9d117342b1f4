"""What a daemon tells its own users of itself: health, metrics, and its capability record."""
