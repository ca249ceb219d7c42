"""Cheap methods, the linear teacher, labels, sampling, and the way to a student; no host."""
