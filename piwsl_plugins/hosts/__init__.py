"""Adapters, one a host: the only modules that import MACE or NequIP."""
