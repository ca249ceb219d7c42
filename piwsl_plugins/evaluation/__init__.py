"""How good a model is: errors, softening, conservation, figures, for any model that ASE can call.

`compare` evaluates frames with a calculator (`predict` and `beside_labels` are its halves, for two
processes), `summarise` gives the main figures of merit at once, and
`piwsl_plugins.evaluation.figures` (which needs matplotlib) draws.

``piwsl evaluate`` (`command` reads its words, `evaluate` does the work, `jobs` hands models to
another Python, `report` writes the page) measures all that there is: `accuracy`, `curvature` and
`secants`, `loops`, `finite_differences` and `dynamics`, each for any calculator of ASE's.
"""

from piwsl_plugins.evaluation.comparison import Comparison
from piwsl_plugins.evaluation.errors import (
    energy_rmse,
    energy_rmse_per_atom,
    force_mae,
    force_rmse,
)
from piwsl_plugins.evaluation.predict import beside_labels, compare, predict
from piwsl_plugins.evaluation.softening import Softening, slope_through_origin, softening
from piwsl_plugins.evaluation.summary import Summary, summarise

__all__ = [
    "Comparison",
    "Softening",
    "Summary",
    "beside_labels",
    "compare",
    "energy_rmse",
    "energy_rmse_per_atom",
    "force_mae",
    "force_rmse",
    "predict",
    "slope_through_origin",
    "softening",
    "summarise",
]
