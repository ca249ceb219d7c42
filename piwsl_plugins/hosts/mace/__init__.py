"""MACE: translates its arguments, batches and logger to and from the physics core."""
