"""Gradients of log P(y_i | x_i; w), one an example: exact, from one backward pass, for any pure function.

    factors = per_example.factors(objective, params, batch)   # one pass, kept as outer products a_i d_iᵀ
    factors.norms(), factors.clipped_sum(1.0), factors.gram() # each a few products of matrices

Every method is also a function of (objective, params, batch), which works in chunks where memory asks for it, and
`materialise` is called `gradients` there.
"""

from jaxnn.per_example._each import factors, gradients, gram, inner, log_likelihoods, norms
from jaxnn.per_example._explain import Explanation, explain
from jaxnn.per_example._factors import Clipping, Factors
from jaxnn.per_example._influence import Influence, influence
from jaxnn.per_example._noise import NoiseScale
from jaxnn.per_example._sums import (
    clipped_sum,
    fisher_vector_product,
    mean,
    noise_scale,
    second_moment,
    variance,
    weighted_sum,
)

__all__ = [
    "Clipping",
    "Explanation",
    "Factors",
    "Influence",
    "NoiseScale",
    "clipped_sum",
    "explain",
    "factors",
    "fisher_vector_product",
    "gradients",
    "gram",
    "influence",
    "inner",
    "log_likelihoods",
    "mean",
    "noise_scale",
    "norms",
    "second_moment",
    "variance",
    "weighted_sum",
]
