"""Child processes that do untrusted work: starting, confining, feeding and ending them."""
