"""The version of Plasm, a module of its own: the package's `__init__` names classes that import the rest."""

__version__ = "0.1.0.dev0"
