"""The MACE adapter: the only place that imports mace."""
