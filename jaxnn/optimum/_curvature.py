"""The curvature of a likelihood in its outputs: -∂² log P / ∂z², as a product and as a matrix.

    Bernoulli: σ(z) σ(-z);   categorical: diag(p) - p pᵀ;   Gaussian: I / σ²

For these three it does not depend on y, so it is also the Fisher information of the outputs.

Outputs z are [K, N], the examples along the last axis: sums over few classes then run along many examples, which took
0.7 of the time of a product with the Hessian of 1,797 digits. Of 60,000 with 784 pixels it took 1.3: for what is wide,
`spread` and `curve`, which a product with the Hessian is made of, also take the classes along the last axis.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._likelihoods import Bernoulli, Categorical, Gaussian, log_softmax_at

KNOWN = (Bernoulli, Categorical, Gaussian)
SELF_CONCORDANCE = {Bernoulli: 1.0, Categorical: 2.0**0.5, Gaussian: 0.0}  # the constant c of _certificate


def largest(likelihood: Any) -> Any:
    """Return the largest curvature there is in any direction: ¼, ½, or 1 / σ²."""
    if isinstance(likelihood, Gaussian):
        return 1 / likelihood.scale**2
    return 0.5 if isinstance(likelihood, Categorical) else 0.25


def log_probs(likelihood: Any, z: Array, y: Array) -> Array:
    """Return log P(y_i | z_i), dtype[N]."""
    if isinstance(likelihood, Categorical):
        return log_softmax_at(z, y)
    return jax.vmap(likelihood.log_prob, (1, 0))(z, y)


def residuals(likelihood: Any, z: Array, y: Array) -> Array:
    """Return ∂ log P(y_i | z_i) / ∂z, dtype[K, N]: what was seen less what was expected."""
    return jax.grad(lambda z: jnp.sum(log_probs(likelihood, z, y)))(z)


def spread(likelihood: Any, z: Array, axis: int = 0) -> Array:
    """Return what `curve` needs of the outputs, in their shape: the probabilities of classes, else the diagonal."""
    if isinstance(likelihood, Categorical):
        return jax.nn.softmax(z, axis=axis)
    if isinstance(likelihood, Bernoulli):
        return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)
    return jnp.full_like(z, 1 / likelihood.scale**2)


def curve(likelihood: Any, p: Array, u: Array, axis: int = 0) -> Array:
    """Return the product of every example's curvature with u_i, in the shape of u; p is of `spread`."""
    if isinstance(likelihood, Categorical):
        return p * u - p * jnp.sum(p * u, axis=axis, keepdims=True)
    return p * u


def diagonals(likelihood: Any, p: Array) -> Array:
    """Return the diagonal of every example's curvature, in the shape of p."""
    return p * (1 - p) if isinstance(likelihood, Categorical) else p


def matrices(likelihood: Any, p: Array, basis: Array) -> Array:
    """Return Cᵀ A_i C for every example's curvature A_i and the basis C [K, M], dtype[M, M, N].

        uᵀ A v = Σ_{k<l} p_k p_l (u_k - u_l) (v_k - v_l)

    No term is less than 0 where u = v, so the smallest curvature keeps its digits: diag(p) - p pᵀ would lose those of
    examples classified with confidence.
    """
    if isinstance(likelihood, Categorical):
        k, other, pairs = _pairs_of(basis)
        return jnp.tensordot(pairs, p[k] * p[other], (0, 0))
    return jnp.eye(len(p), dtype=p.dtype)[:, :, None] * p


def mean_matrix(likelihood: Any, p: Array, weight: Array, basis: Array) -> Array:
    """Return Σ_i weight_i Cᵀ A_i C, dtype[M, M], with the same digits: Σ_i weight_i p_ik p_il is one small product."""
    if isinstance(likelihood, Categorical):
        k, other, pairs = _pairs_of(basis)
        return jnp.tensordot(((weight * p) @ p.T)[k, other], pairs, 1)
    return jnp.diag(p @ weight)


def _pairs_of(basis: Array) -> tuple[np.ndarray, np.ndarray, Array]:
    """Return the pairs of classes k < l, and (c_k - c_l) (c_k - c_l)ᵀ for the rows c of the basis, [pairs, M, M]."""
    k, other = np.triu_indices(basis.shape[0], 1)
    d = basis[k] - basis[other]
    return k, other, d[:, :, None] * d[:, None, :]


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
        margin = jnp.where(y == 1, z[0], -z[0])
    else:
        own = jax.nn.one_hot(y, len(z), dtype=bool, axis=0)
        margin = jnp.sum(jnp.where(own, z, 0), 0) - jnp.max(jnp.where(own, -jnp.inf, z), 0)
    return jnp.min(jnp.where(present, margin, jnp.inf))
