"""The curvature of a likelihood in its outputs: -∂² log P / ∂z², as a product and as a matrix.

    Bernoulli: σ(z) σ(-z);   categorical: diag(p) - p pᵀ;   Gaussian: I / σ²

For these three it does not depend on y, so it is also the Fisher information of the outputs.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._likelihoods import Bernoulli, Categorical, Gaussian

KNOWN = (Bernoulli, Categorical, Gaussian)
SELF_CONCORDANCE = {Bernoulli: 1.0, Categorical: 2.0**0.5, Gaussian: 0.0}  # the constant c of _certificate


def largest(likelihood: Any) -> Any:
    """Return the largest curvature there is in any direction: ¼, ½, or 1 / σ²."""
    if isinstance(likelihood, Gaussian):
        return 1 / likelihood.scale**2
    return 0.5 if isinstance(likelihood, Categorical) else 0.25


def log_probs(likelihood: Any, z: Array, y: Array) -> Array:
    """Return log P(y_i | z_i), dtype[N]."""
    return jax.vmap(likelihood.log_prob)(z, y)


def residuals(likelihood: Any, z: Array, y: Array) -> Array:
    """Return ∂ log P(y_i | z_i) / ∂z, dtype[N, K]: what was seen less what was expected."""
    return jax.vmap(jax.grad(likelihood.log_prob))(z, y)


def spread(likelihood: Any, z: Array) -> Array:
    """Return what `curve` needs of the outputs, dtype[N, K]: the probabilities of classes, else the diagonal."""
    if isinstance(likelihood, Categorical):
        return jax.nn.softmax(z)
    if isinstance(likelihood, Bernoulli):
        return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)
    return jnp.full_like(z, 1 / likelihood.scale**2)


def curve(likelihood: Any, p: Array, u: Array) -> Array:
    """Return the product of every example's curvature with u_i, dtype[N, K]; p is of `spread`."""
    if isinstance(likelihood, Categorical):
        return p * u - p * jnp.sum(p * u, axis=-1, keepdims=True)
    return p * u


def diagonals(likelihood: Any, p: Array) -> Array:
    """Return the diagonal of every example's curvature, dtype[N, K]."""
    return p * (1 - p) if isinstance(likelihood, Categorical) else p


def matrices(likelihood: Any, p: Array, basis: Array) -> Array:
    """Return Cᵀ A_i C for every example's curvature A_i and the basis C [K, M], dtype[N, M, M].

        uᵀ A v = Σ_{k<l} p_k p_l (u_k - u_l) (v_k - v_l)

    No term is less than 0 where u = v, so the smallest curvature keeps its digits: diag(p) - p pᵀ would lose those of
    examples classified with confidence.
    """
    if isinstance(likelihood, Categorical):
        k, other = np.triu_indices(p.shape[1], 1)
        d = basis[k] - basis[other]
        pairs = d[:, :, None] * d[:, None, :]
        return ((p[:, k] * p[:, other]) @ pairs.reshape(len(k), -1)).reshape(-1, *pairs.shape[1:])
    return p[:, :, None] * jnp.eye(p.shape[1], dtype=p.dtype)


@cache
def basis_of(is_softmax: bool, num_outputs: int) -> np.ndarray:
    """Return an orthonormal basis of the outputs that matter, float64[K, M].

    One vector added to all K logits of a softmax changes nothing: M = K - 1 contrasts remain (Helmert's). Else M = K.
    """
    if not is_softmax:
        return np.eye(num_outputs)
    columns = []
    for m in range(1, num_outputs):
        c = np.r_[np.ones(m), -m, np.zeros(num_outputs - m - 1)]
        columns.append(c / np.sqrt(m * (m + 1)))
    return np.stack(columns, axis=1)


def least_margin(likelihood: Any, z: Array, y: Array, present: Array) -> Array:
    """Return the smallest margin of the present examples: above 0, every one is classified rightly; -inf for targets.

    Bernoulli: z or -z;   categorical: z_y - max of the others
    """
    if isinstance(likelihood, Gaussian):
        return jnp.asarray(-jnp.inf, z.dtype)
    if isinstance(likelihood, Bernoulli):
        margin = jnp.where(y == 1, z[:, 0], -z[:, 0])
    else:
        own = jax.nn.one_hot(y, z.shape[1], dtype=bool)
        margin = jnp.sum(jnp.where(own, z, 0), 1) - jnp.max(jnp.where(own, -jnp.inf, z), 1)
    return jnp.min(jnp.where(present, margin, jnp.inf))
