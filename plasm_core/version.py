"""The version of Plasm, in a module without imports: the package's `__init__` imports the clients."""

__version__ = "0.1.0.dev0"
