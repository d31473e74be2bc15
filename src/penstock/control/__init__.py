"""Runs MANY flows in MANY environments: the project and its environments, loading, binding, one run, its tables."""

import lazy_loader

# The names are in `__init__.pyi`. Each loads its module when it is first used: a process that runs one flow starts
# without what only servers and commands need.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
