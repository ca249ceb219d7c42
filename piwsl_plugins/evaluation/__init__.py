"""How good a model is: errors, softening, conservation and dynamics of any ASE calculator."""
