"""How far the maximum can be with a penalty: a bound from one gradient, for any number of parameters.

**With a penalty** on the kernels V (l2 > 0), F(V) = min_b f(V, b) is l2-strongly convex (f as in `_certificate`), and
its gradient is ∇_V f at the best b. So

    objective* - objective(w) <= ν_b² h(a_b) + (|∇_V| + 1.66 C ν_b)² / (2 l2),       C² = largest curvature * mean |x|²

where ν_b, a_b belong to the biases alone, K numbers, which are first made as good as they can be. That a minimum over
b exists is again a_b <= ½; ρ_b = c / √λ_min(H_bb) <= c √tr(H_bb⁻¹).

The term in C is how far ∇_V can be from ∇F, |∫ H_Vb db|. For any db, |H_Vb db| <= C |db|_H, by Cauchy and Schwarz. At
the best b the slope along db is 0, so that (1 - e^-s) s / ρ² <= ν_b s / ρ, that is s <= -log(1 - a). And |db| in the
norm of H at w + t db is at most e^{st/2} times that at w, which is s / ρ. So the integral is at most
C ν_b (s / a) (e^{s/2} - 1) / (s / 2), which grows with a and is 1.66 C ν_b at a = ½.

Rounding is added as in `_certificate`: that of ∇_V is at most N eps mean |r| |x| + (largest curvature) dz mean |x|.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._likelihoods import Categorical
from jaxnn.optimum._certificate import SAFE, Certificate, gap_of
from jaxnn.optimum._curvature import (
    SELF_CONCORDANCE,
    basis_of,
    largest,
    least_margin,
    log_probs,
    mean_matrix,
    residuals,
    spread,
)
from jaxnn.optimum._rounding import EPS, LOOSEST, TINY, rounded_to
from jaxnn.optimum._rows import sum_over_rows

PATH = 1.66
BIAS_STEPS = 20
AT_BEST = 1e-14  # √nats: nearer the best biases need not be


@partial(jax.jit, static_argnames="chunk")
def penalised_certificate(
    likelihood: Any, kernel: Array, bias: Array, x: Array, y: Array, weight: Array, l2: Array, *, chunk: int
) -> tuple[Array, Array]:
    """Return the best biases [K] for a kernel [K, D], as the dtype given can hold them, and the `Certificate` there,
    stacked; weights sum to 1.

    Everything is computed in float64, whatever the dtype of x: two passes over the rows in chunks.
    """
    wide = jnp.float64
    basis = jnp.asarray(basis_of(isinstance(likelihood, Categorical), kernel.shape[0]))
    v, n, outputs = kernel.astype(wide), x.shape[0], basis.shape[1]

    def looked(rows: Array) -> Array:
        """The outputs without a bias, and the squared length, of each row."""
        rows = rows.astype(wide)
        return jnp.concatenate([v @ rows.T, jnp.sum(rows**2, axis=1)[None]])

    seen_once = sum_over_rows(looked, x, axes=(0,), chunk=chunk, keep=True)
    z0, squares = seen_once[:-1], seen_once[-1]
    c, most = SELF_CONCORDANCE[type(likelihood)], largest(likelihood)

    def error_at(b: Array) -> Array:
        """A bound on the error of the outputs of an example, Euclidean."""
        return (x.shape[1] + 3) * EPS * (jnp.linalg.norm(v) * jnp.sqrt(jnp.max(squares)) + jnp.sum(jnp.abs(b)))

    def at(b: Array) -> tuple:
        z = z0 + b[:, None]
        h = mean_matrix(likelihood, spread(likelihood, z), weight, basis)
        r = residuals(likelihood, z, y)
        g = basis.T @ (r @ weight)
        inverse = jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(h), True), jnp.eye(outputs, dtype=wide))
        step = inverse @ g
        dz, total = error_at(b), jnp.trace(inverse)
        loose = (n + 4 * outputs**2) * EPS * outputs * jnp.sum(jnp.diagonal(h) * jnp.diagonal(inverse)) + 2 * c * dz
        loose = jnp.where((loose <= LOOSEST) & (jnp.min(jnp.diagonal(h)) > TINY), loose, jnp.nan)
        wrong = (n + 8) * EPS * (weight @ jnp.linalg.norm(r, axis=0)) * jnp.sqrt(total) + jnp.sqrt(most) * dz
        found = jnp.sqrt(jnp.maximum(g @ step, 0))
        decrement = (found + wrong) / jnp.sqrt(1 - loose)
        return basis @ step, found, decrement, decrement * c * jnp.sqrt(total / (1 - loose))

    def better(carry: tuple) -> tuple:
        i, b, (step, _, _, ratio) = carry
        b = b + step / jnp.where(ratio > SAFE, 1 + ratio, 1)
        return i + 1, b, at(b)

    def go_on(carry: tuple) -> Array:
        i, _, (_, found, _, ratio) = carry
        return (i < BIAS_STEPS) & (found > AT_BEST) & jnp.isfinite(ratio)

    b = bias.astype(wide)
    _, b, _ = jax.lax.while_loop(go_on, better, (0, b, at(b)))
    b = rounded_to(bias.dtype, b)
    z = z0 + b[:, None]
    _, _, decrement_b, ratio = at(b)
    seen = weight * residuals(likelihood, z, y)
    g = sum_over_rows(lambda rows, r: r @ rows.astype(wide), x, seen, axes=(0, 1), chunk=chunk) - l2 * v
    square, dz = weight @ squares, error_at(b)
    wrong = (n + 8) * EPS * (jnp.linalg.norm(seen, axis=0) @ jnp.sqrt(squares)) + most * dz * jnp.sqrt(square)
    off = jnp.linalg.norm(g) + wrong + 4 * EPS * l2 * jnp.linalg.norm(v) + PATH * jnp.sqrt(most * square) * decrement_b
    gap = gap_of(decrement_b, ratio) + off**2 / (2 * l2)
    decrement = jnp.sqrt(decrement_b**2 + off**2 / l2)
    proven = (l2 > 0) & (gap < jnp.inf)
    norm = jnp.sqrt(jnp.sum(g**2) + jnp.sum(jnp.sum(seen, 1) ** 2))
    value = weight @ log_probs(likelihood, z, y) - 0.5 * l2 * jnp.sum(v**2)
    margin = least_margin(likelihood, z, y, weight > 0) - 4 * dz
    gap, ratio = (jnp.where(proven, number, jnp.inf) for number in (gap, ratio))
    decrement = jnp.where(proven, decrement, jnp.nan)
    return b, jnp.stack(Certificate(gap, ratio, decrement, norm, value, margin))
