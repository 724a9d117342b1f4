"""Random choices that are no secrets: jitter, and the order in which equals are asked.

They come from the system, not from the module `random`: a program that seeds that one for its own
experiment would make a node's choices predictable, and ours would change its numbers.
"""

from random import SystemRandom

RANDOM = SystemRandom()
