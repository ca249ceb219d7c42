"""Cheap methods as weak teachers: their labels, beside those of a better method."""
