"""To the maximum of a log likelihood over all of the data, with a proof of how near it is.

    newton          linear models: iteratively reweighted least squares, by Cholesky or conjugate gradients
    lbfgs           any objective, from gradients
    gauss_newton    networks, from the curvature of the likelihood in their outputs

Each returns an `Optimum`. Its `gap` is a theorem about linear models, whichever method climbed; for all others it is
infinite, and nothing more is said than that the point is stationary.
"""

from jaxnn.optimum._gauss_newton import gauss_newton
from jaxnn.optimum._lbfgs import lbfgs
from jaxnn.optimum._newton import newton
from jaxnn.optimum._optimum import Optimum

__all__ = ["Optimum", "gauss_newton", "lbfgs", "newton"]
