"""Energy-only data, host-free: checks of labels and geometries before training starts."""
