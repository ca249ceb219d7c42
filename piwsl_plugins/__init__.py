"""Physics-informed weakly supervised losses for MACE and NequIP.

Importing this package imports neither torch nor a host, so that the entry point that torch
calls at the end of ``import torch`` stays cheap.
"""

__version__ = "0.1.0"
