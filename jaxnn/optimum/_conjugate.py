"""Newton's method without the Hessian: conjugate gradients on products with it, for many parameters.

    H d = ∇ to a relative residual η,    H v = Σ_i ω_i (A_i Vᵀ x_i) ⊗ x_i + l2 v,    η = min(¼, ½ ν)

A product with H costs one pass over the rows, 4 N (D + 1) K operations. The preconditioner is one matrix a class, the
diagonal blocks H_kk = Σ_i ω_i p_ik (1 - p_ik) x_i x_iᵀ + l2, from a few thousand rows where the curvature is: how good
it is changes the number of passes, never the answer. At the start, where all p are alike, one block serves all classes,
up to a factor Böhning's bound (1992). Passes are in the dtype of x, all that is summed over steps in float64.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._likelihoods import Categorical
from jaxnn.optimum._curvature import curve, diagonals, least_margin, log_probs, residuals, spread
from jaxnn.optimum._line_search import backtrack

LOOSEST = 0.25
MOST_PRODUCTS = 250  # in one step
FEW = 32  # rows for each feature, up to which all go into the preconditioner
SAMPLE = 4  # rows for each feature that do, of more
LARGEST_BLOCKS = 2**27  # numbers in the blocks; beyond, only their diagonals are kept
STALLS = 3


class Standing(NamedTuple):
    """Where the method stands: coordinates [K, D + 1] in float64, outputs [N, K], and the sums at them."""

    w: Array
    z: Array
    value: Array
    gradient: Array
    steps: Array
    products: Array
    since: Array
    blocks: Array
    stalls: Array
    predicted: Array


@partial(jax.jit, static_argnames="rows")
def ascend_by_conjugate_gradients(
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
    rows: int,
) -> tuple:
    """Return kernel [K, D], bias [K], steps, passes, and values and gradient norms by step [rows].

    It ends when |∇_V|² / (2 l2), without a penalty ν², is within half the tolerance, when the classes are
    separated without a penalty, when three steps in a row raise the value by no more than rounding, or after `limit`.
    """
    low, wide = x.dtype, jnp.float64
    likelihood = jax.tree.map(lambda number: jnp.asarray(number, low), likelihood)
    n, num_features, outputs = x.shape[0], x.shape[1], kernel.shape[0]
    present, narrow = weight > 0, weight.astype(low)[:, None]
    penalty = jnp.append(jnp.full(num_features, l2), 0)
    is_softmax = isinstance(likelihood, Categorical)
    matmul = partial(jnp.matmul, precision="highest")

    def contrast(v: Array) -> Array:
        """One vector added to all classes changes no probability: leave it out."""
        return v - jnp.mean(v, axis=0) if is_softmax else v

    def forward(v: Array) -> Array:
        return matmul(x, v[:, :-1].T.astype(low)) + v[:, -1].astype(low)

    def backward(r: Array) -> Array:
        r = narrow * r
        return jnp.concatenate([matmul(r.T, x), jnp.sum(r, axis=0)[:, None]], axis=1).astype(wide)

    def value_of(z: Array, w: Array) -> Array:
        return weight @ log_probs(likelihood, z.T, y).astype(wide) - 0.5 * jnp.sum(penalty * w**2)

    def gradient_of(z: Array, w: Array) -> Array:
        return contrast(backward(residuals(likelihood, z.T, y).T)) - penalty * w

    sample = n if n <= FEW * (num_features + 1) else SAMPLE * (num_features + 1)
    count = outputs if is_softmax else 1
    full = count * (num_features + 1) ** 2 <= LARGEST_BLOCKS
    refresh_after = sample * num_features // (8 * n) + 2  # about what building the blocks costs, in passes

    def sampled(c: Array) -> tuple[Array, Array]:
        """Rows and their coefficients for Σ_i c_i x_i x_iᵀ: all, or as many as will do, each as often as c_i asks.

        Most examples are classified with confidence and have next to no curvature: they need not be read.
        """
        if sample == n:
            return x, c
        ends = jnp.cumsum(c.astype(wide))
        at = jnp.searchsorted(ends, ends[-1] * (jnp.arange(sample) + 0.5) / sample)
        return x[at], jnp.full(sample, ends[-1] / sample).astype(low)

    def gram(c: Array) -> Array:
        """L⁻¹, where L Lᵀ = Σ_i c_i x_i x_iᵀ + l2 with the constant appended; or that of the diagonal."""
        some, c = sampled(c)
        if not full:
            diagonal = jnp.append(c @ some**2, jnp.sum(c)) + penalty.astype(low)
            return 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1))
        xx = matmul((some * c[:, None]).T, some)
        edge = matmul(c, some)
        h = jnp.block([[xx, edge[:, None]], [edge[None], jnp.sum(c)[None, None]]])
        h = h + jnp.diag(penalty).astype(low)
        jitter = 4 * jnp.finfo(low).eps * jnp.trace(h) + jnp.finfo(low).tiny
        one = jnp.eye(h.shape[0], dtype=low)
        # Inverted once: two products with L⁻¹ take a tenth of the time of two triangular solves.
        return jax.lax.linalg.triangular_solve(jnp.linalg.cholesky(h + jitter * one), one, left_side=True, lower=True)

    def blocks_of(z: Array, alike: Array) -> Array:
        d = narrow * diagonals(likelihood, spread(likelihood, z, 1))
        shape = (count, *((num_features + 1,) * (2 if full else 1)))
        if count == 1:
            return gram(d[:, 0])[None]
        one = lambda: jnp.broadcast_to(gram(jnp.mean(d, axis=1)), shape)  # noqa: E731
        return jax.lax.cond(alike, one, lambda: jax.lax.map(gram, d.T))

    def precondition(blocks: Array, g: Array) -> Array:
        g = g.astype(low)
        if not full:
            return contrast((blocks**2 * g).astype(wide))
        half = jnp.einsum("kde,ke->kd", jnp.broadcast_to(blocks, (outputs, *blocks.shape[1:])), g, precision="highest")
        blocks = jnp.broadcast_to(blocks, (outputs, *blocks.shape[1:]))
        return contrast(jnp.einsum("kde,kd->ke", blocks, half, precision="highest").astype(wide))

    def target(g: Array) -> Array:
        """What the gradient promises of the gap, as far as the penalty bounds it."""
        return jnp.where(l2 > 0, jnp.sum(g[:, :-1] ** 2) / (2 * l2), jnp.inf)

    def solve(p: Array, blocks: Array, g: Array) -> tuple[Array, Any]:
        """Return d with H d = g, nearly, and the number of products."""
        s = precondition(blocks, g)
        rs = jnp.vdot(g, s)
        eta = jnp.minimum(LOOSEST, 0.5 * jnp.sqrt(jnp.maximum(rs, 0)))

        def go_on(carry: tuple) -> Array:
            k, _, r, _, now = carry
            return (k < MOST_PRODUCTS) & (now > eta**2 * rs) & (target(r) > 0.1 * tolerance)

        def better(carry: tuple) -> tuple:
            k, d, r, direction, now = carry
            along = contrast(backward(curve(likelihood, p, forward(direction), 1))) + penalty * direction
            curvature = jnp.vdot(direction, along)
            t = jnp.where(curvature > 0, now / curvature, 0)
            d, r = d + t * direction, r - t * along
            s = precondition(blocks, r)
            new = jnp.where(curvature > 0, jnp.vdot(r, s), 0)
            return k + 1, d, r, s + new / now * direction, new

        k, d, _, _, _ = jax.lax.while_loop(go_on, better, (0, jnp.zeros_like(g), g, s, rs))
        return d, k

    def go_on(carry: tuple) -> Array:
        at = carry[0]
        separated = (l2 == 0) & (least_margin(likelihood, at.z.T, y, present) > 0)
        near = (at.steps >= 0) & (jnp.where(l2 > 0, target(at.gradient), at.predicted) <= 0.5 * tolerance)
        return (at.steps < limit) & ~near & ~separated & (at.stalls < STALLS) & jnp.isfinite(at.value)

    def step(carry: tuple) -> tuple:
        at, values, norms = carry
        renew = (at.steps == 0) | (at.since > refresh_after)
        blocks = jax.lax.cond(renew, lambda: blocks_of(at.z, at.steps == 0), lambda: at.blocks)
        d, k = solve(spread(likelihood, at.z, 1), blocks, at.gradient)
        dz, slope = forward(d), jnp.vdot(at.gradient, d)
        slack = 10 * jnp.finfo(low).eps * (1 + jnp.abs(at.value))
        t, value = backtrack(lambda t: value_of(at.z + t.astype(low) * dz, at.w + t * d), at.value, slope, slack)
        w, z = (jnp.where(t > 0, new, old) for new, old in ((at.w + t * d, at.w), (at.z + t.astype(low) * dz, at.z)))
        g = gradient_of(z, w)
        stalls = jnp.where(value > at.value + slack / 10, 0, at.stalls + 1)
        i = at.steps + 1
        # The first turn only looks.
        stalls, predicted = jnp.where(i == 0, 0, stalls), jnp.where(i == 0, jnp.inf, slope)
        since = jnp.where(renew, k, at.since + k)
        new = Standing(w, z, value, g, i, at.products + k, since, blocks, stalls, predicted)
        return new, values.at[i].set(value), norms.at[i].set(jnp.linalg.norm(g))

    w = jnp.concatenate([kernel, bias[:, None]], axis=1).astype(wide)
    w = jnp.where(l2 > 0, contrast(w), w).at[:, -1].set(w[:, -1])
    blocks = jnp.zeros((count, *((num_features + 1,) * (2 if full else 1))), low)
    zero, far = jnp.asarray(0), jnp.asarray(jnp.inf)
    # The first turn takes a step of length 0, to see where it stands: what a step needs is compiled once.
    lowest = jnp.asarray(jnp.finfo(wide).min)
    before = Standing(w, forward(w), lowest, jnp.zeros_like(w), zero - 1, zero, zero, blocks, zero, far)
    blank = jnp.full(rows, jnp.nan)
    at, values, norms = jax.lax.while_loop(go_on, step, (before, blank, blank))
    return at.w[:, :-1], at.w[:, -1], at.steps, 1 + at.steps + at.products, values, norms
