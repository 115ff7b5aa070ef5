"""Newton's method with the whole Hessian and its Cholesky factor, in float64, as one compiled program.

    w <- w + t H⁻¹ ∇,        H = Σ_i ω_i (Cᵀ A_i C) ⊗ x_i x_iᵀ + l2,        ω_i = weight_i / Σ weight

with A_i the curvature of example i in its outputs and C the contrasts of the classes (`_curvature.basis_of`). Features
are centred and scaled inside, which changes nothing but the rounding, and the examples lie along the last axis.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._likelihoods import Categorical
from jaxnn.optimum._certificate import SAFE, Certificate, dense_certificate
from jaxnn.optimum._curvature import (
    basis_of,
    least_margin,
    log_probs,
    matrices,
    residuals,
    spread,
)
from jaxnn.optimum._line_search import backtrack, lengthen
from jaxnn.optimum._rounding import EPS, output_error, rounded_to
from jaxnn.optimum._rows import sum_over_rows

DAMPING = 1e-8  # of a Hessian that has no Cholesky factor, relative to its diagonal
NEAR = 4.0  # from ν² within so many tolerances on, each step tries to prove


class Point(NamedTuple):
    """Where the method stands: parameters, coordinates [K, D + 1], outputs [K, N], next step, what is proven here."""

    kernel: Array
    bias: Array
    w: Array
    z: Array
    value: Array
    step: Array
    decrement: Array
    gap: Array
    ratio: Array
    norm: Array
    margin: Array


@partial(jax.jit, static_argnames=("dtype", "rows", "chunk"))
def ascend_by_cholesky(
    likelihood: Any,
    kernel: Array,
    bias: Array,
    x: Array,
    y: Array,
    weight: Array,
    l2: Array,
    tolerance: Array,
    limit: Array,
    *,
    dtype: Any,
    rows: int,
    chunk: int,
) -> tuple:
    """Return kernel [K, D] and bias [K], a stacked `Certificate`, steps, values and gradient norms by step [2, rows].

    Every point is one that dtype can hold: what is proven is about what is returned. It ends when the gap is proven to
    be within the tolerance, when the classes are separated (margin > 0, l2 = 0), when H is singular to rounding, when
    no step raises the value or shortens a ν that is nothing but rounding, or after `limit` steps.
    """
    x = x.astype(jnp.float64)
    present = weight > 0
    constant = jnp.max(x, 0) == jnp.min(x, 0)
    mean = jnp.where(constant, x[0], weight @ x)
    centred = x - mean
    scale = jnp.where(constant, 1, jnp.max(jnp.abs(centred), 0))
    a = jnp.concatenate([(centred / scale).T, jnp.ones((1, x.shape[0]))])  # [D + 1, N]
    penalty = jnp.append(jnp.where(l2 > 0, l2 / scale**2, 0), 0)
    basis = jnp.asarray(basis_of(isinstance(likelihood, Categorical), kernel.shape[0]))
    outputs, width = basis.shape[1], a.shape[0]
    null = jax.lax.cond(l2 > 0, lambda: jnp.zeros((width, width)), lambda: _null_space(a))
    first, second = np.triu_indices(outputs)
    pair = np.zeros((outputs, outputs), int)
    pair[first, second] = pair[second, first] = np.arange(len(first))
    slack = 10 * EPS

    def coordinates(kernel: Array, bias: Array) -> Array:
        """V scale, and the output where x is the mean."""
        return jnp.concatenate([kernel * scale, (bias + kernel @ mean)[:, None]], axis=1)

    def params_at(w: Array) -> tuple[Array, Array]:
        kernel = rounded_to(dtype, w[:, :-1] / scale)
        return kernel, rounded_to(dtype, w[:, -1] - kernel @ mean)

    def value_of(z: Array, w: Array) -> Array:
        return weight @ log_probs(likelihood, z, y) - 0.5 * jnp.sum(penalty * w**2)

    def norm_of(g: Array) -> Array:
        """In the user's coordinates: V = W / scale, b = the last column less V mean."""
        return jnp.linalg.norm(jnp.concatenate([g[:, :-1] * scale + g[:, -1:] * mean, g[:, -1:]], axis=1))

    def hessian_of(z: Array) -> Array:
        p = spread(likelihood, z)

        def part(a: Array, p: Array, weight: Array) -> Array:
            s = weight * matrices(likelihood, p, basis)
            return jax.lax.map(lambda c: (a * c) @ a.T, s[first, second])

        blocks = sum_over_rows(part, a, p, weight, axes=(1, 1, 0), chunk=chunk)  # one a pair of contrasts
        h = blocks[pair].transpose(0, 2, 1, 3).reshape(outputs * width, -1)
        h = h + jnp.kron(jnp.eye(outputs), jnp.diag(penalty))
        return h + jnp.kron(jnp.eye(outputs), null) * jnp.trace(h) / len(h)

    def point(kernel: Array, bias: Array, is_last: Array) -> Point:
        w = coordinates(kernel, bias)
        z = w @ a
        dz = output_error(1, w) + output_error(mean, kernel)  # no |a| is above 1
        seen = weight * residuals(likelihood, z, y)
        g = seen @ a.T - penalty * w
        on_rows = ((basis.T @ g) @ (jnp.eye(width) - null)).reshape(-1)
        h = hessian_of(z)
        factor = jnp.linalg.cholesky(h)
        failed = ~jnp.isfinite(factor[-1, -1])  # then there is a step still, and no proof
        factor = jax.lax.cond(
            failed, lambda: jnp.linalg.cholesky(h + DAMPING * jnp.diag(jnp.diagonal(h))), lambda: factor
        )
        step = jax.scipy.linalg.cho_solve((factor, True), on_rows)
        decrement = jnp.sqrt(jnp.maximum(on_rows @ step, 0))

        def proven() -> tuple[Array, Array]:
            terms = jnp.abs(basis.T) @ (jnp.abs(seen) @ jnp.abs(a.T) + penalty * jnp.abs(w))
            return dense_certificate(likelihood, factor, h, a, terms.reshape(-1), dz, decrement)

        gap, ratio = jax.lax.cond(
            ~failed & (is_last | (decrement**2 <= NEAR * tolerance)),
            proven,
            lambda: (jnp.asarray(jnp.inf), jnp.asarray(jnp.inf)),
        )
        # What all classes share changes no output: it costs its penalty.
        gap = gap + 0.5 * jnp.sum(penalty * (w - basis @ (basis.T @ w)) ** 2)
        margin = least_margin(likelihood, z, y, present) - 4 * dz
        step = basis @ step.reshape(outputs, width)
        return Point(kernel, bias, w, z, value_of(z, w), step, decrement, gap, ratio, norm_of(g), margin)

    def go_on(carry: tuple) -> Array:
        i, length, at, _, _ = carry
        separated = (l2 == 0) & (at.margin > 0)
        singular = (i >= 0) & (at.decrement**2 <= NEAR * tolerance) & jnp.isinf(at.ratio)
        going = (i < limit) & (length > 0) & jnp.isfinite(at.decrement)
        return going & ~separated & ~singular & ~(at.gap <= tolerance)

    def forward(carry: tuple) -> tuple:
        i, _, at, values, norms = carry
        dz = at.step @ a
        low = slack * (1 + jnp.abs(at.value))

        def value_at(t: Array) -> Array:
            return value_of(at.z + t * dz, at.w + t * at.step)

        t = lengthen(value_at, *backtrack(value_at, at.value, at.decrement**2, low), low)
        i = i + 1
        new = point(*params_at(at.w + t * at.step), i >= limit)
        # Where the rounding of parameters undid the step, or only rounding is left, no later step does better.
        worse = (i > 0) & ~((new.value >= at.value - low) & jnp.isfinite(new.decrement))
        new = jax.tree.map(lambda old, new: jnp.where(worse, old, new), at, new)
        t = jnp.where(worse | ((i > 0) & (new.ratio <= SAFE) & (new.decrement >= at.decrement)), 0, t)
        return i, t, new, values.at[i].set(new.value), norms.at[i].set(new.norm)

    w = coordinates(kernel, bias)
    # With a penalty the best kernels of a softmax have mean 0 over the classes: the steps are contrasts, start there.
    w = jnp.where(l2 > 0, basis @ (basis.T @ w), w).at[:, -1].set(w[:, -1])
    # The first turn takes a step of length 0, to see where it stands: what a step needs is compiled once.
    zero, far = jnp.zeros(()), jnp.asarray(jnp.inf)
    lowest = jnp.asarray(jnp.finfo(w.dtype).min)
    before = Point(kernel, bias, w, w @ a, lowest, jnp.zeros_like(w), zero, far, far, far, -far)
    blank = jnp.full(rows, jnp.nan)
    steps, _, at, values, norms = jax.lax.while_loop(go_on, forward, (-1, jnp.ones(()), before, blank, blank))
    seen = jnp.stack(Certificate(at.gap, at.ratio, at.decrement, at.norm, at.value, at.margin))
    return at.kernel, at.bias, seen, steps, jnp.stack([values, norms])


def _null_space(a: Array) -> Array:
    """Return the projector on the directions v with v @ a = 0 to rounding: no such direction changes an output."""
    r = jnp.linalg.qr(a.T, mode="r")
    _, s, vt = jnp.linalg.svd(r, full_matrices=True)
    s = jnp.pad(s, (0, vt.shape[0] - s.shape[0]))
    zero = s <= max(a.shape) * jnp.finfo(a.dtype).eps * s[0]
    return (vt.T * zero) @ vt
