"""Pictures of a run, a sweep of runs, a classifier, a search. Each returns a matplotlib Figure.

Nothing global is touched: no pyplot, no settings; matplotlib is imported by the first picture. All read in grey.
"""

from jaxnn.plotting._classes import confusion, decision_boundary, reliability
from jaxnn.plotting._curves import learning_curves
from jaxnn.plotting._paths import ascent_path
from jaxnn.plotting._sweep_curves import sweep_curves
from jaxnn.plotting._sweeps import sweep

__all__ = ["ascent_path", "confusion", "decision_boundary", "learning_curves", "reliability", "sweep", "sweep_curves"]
