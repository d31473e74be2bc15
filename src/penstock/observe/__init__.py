"""The VOCABULARY of what is seen of flows: their metrics, log entries, and the filters that ask for these."""

import lazy_loader

# The names are in `__init__.pyi`. Each loads its module when it is first used: a process that runs one flow starts
# without what only servers and commands need.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
