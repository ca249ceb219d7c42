"""Commented configurations of both hosts and of ``piwsl train``, as ``configs/`` shows them."""
