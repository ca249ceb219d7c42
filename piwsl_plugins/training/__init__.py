"""Trainings by the hosts' own commands, started, followed and ended; no host is imported."""
