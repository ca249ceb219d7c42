"""Physics-informed weakly supervised losses for MACE and NequIP.

Importing this package imports neither torch nor a host.
"""

__version__ = "0.1.0"
