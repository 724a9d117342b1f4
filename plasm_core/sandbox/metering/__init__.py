"""The rewriter: a module in, the same module with gas, stack and memory limits in its own code out."""
