"""When a maximum is proven, and how far above it can be: bounds from one gradient and one Hessian.

Write f = -objective, ∇ and H for its gradient and Hessian at w, and ν = √(∇ᵀ H⁻¹ ∇), the Newton decrement.

**The third derivative.** Along w + t v, the outputs of example i move by u = Vᵀ x_i, and minus its log likelihood is
some a(t). For a Bernoulli, |a'''| <= |u| a''. For a softmax, a'' is the variance of u under p and a''' its third
central moment, so |a'''| <= (max u - min u) a'', and max u - min u <= √2 |u|. For Gaussians it is 0. With
c = 1, √2, 0 and

    ρ = c max_i sup_v |Vᵀ x_i| / √(vᵀ H v)

φ(t) = f(w + t v) has |φ'''| <= s φ'' with s = ρ √(vᵀ H v). No norm of x and no smallest eigenvalue is needed: ρ does
not change when features are scaled. (R / √λ_min(H), with R = max |x_i|, is an upper bound on it.)

**The bound.** So φ''(t) >= φ''(0) e^-st. Integrate twice: φ(1) >= φ(0) + φ'(0) + φ''(0) (e^-s + s - 1) / s², and
φ'(0) >= -ν √φ''(0) = -ν s / ρ. So

    ρ² (f(w + v) - f(w)) >= e^-s + s - 1 - a s,        a = ν ρ

If a < 1 the right side rises to infinity in every direction in which f changes at all: **a maximum exists**. Its
least value, at s = -log(1 - a), bounds the gap:

    objective* - objective(w) <= ν² h(a),       h(a) = (a + (1 - a) log(1 - a)) / a² <= ½ + a/4  for a <= ½

(h = ½ + a/6 + a²/12 + ... is convex, and below that line at both ends.) Where classes are separated, no maximum
exists, and so a >= 1 at every w. Here a <= ½ is asked for.

**Rounding.** All of this is computed in float64, with what that can be wrong by added. A computed Hessian differs from
the true one by at most ε H in any direction, ε = (N + P + K²) eps P tr(S⁻¹), S the Hessian scaled to a diagonal of
ones (van der Sluis); the gradient by δ in each entry, N eps times the sum of absolute terms; the outputs by dz, which
moves the gradient by no more than √(largest curvature) dz in the norm of H⁻¹. With the computed ν and ρ,

    ν <= (ν + Σ_j δ_j √(H⁻¹)_jj + √(largest curvature) dz) / √(1 - ε),        ρ <= ρ / √(1 - ε),        ε <= ¼

**Scope.** It is about x as cast to the dtype of the parameters. Without a penalty, directions in which no output
changes beyond rounding (constant or repeated features) are left out: the maximum is that over all others.

References: Bach 2010, "Self-concordant analysis for logistic regression", section 2 (the inequality on φ''', with R and
λ_min); Boyd & Vandenberghe 2004, section 9.6 (the decrement); Higham 2002, section 10.1 (Cholesky's rounding).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn.optimum._curvature import SELF_CONCORDANCE, largest
from jaxnn.optimum._rounding import EPS, LOOSEST, TINY

SAFE = 0.5  # the largest ratio a that is accepted


class Certificate(NamedTuple):
    """What is proven at given parameters.

    Attributes:
      gap: upper bound on max - value; infinite where nothing is.
      ratio: a, at most ½ where something is proven.
      decrement: ν, or an upper bound on it.
      gradient_norm, value: of the objective, in float64.
      margin: the smallest margin of an example, less its rounding; above 0 the classes are separated.
    """

    gap: Any
    ratio: Any
    decrement: Any
    gradient_norm: Any
    value: Any
    margin: Any


def gap_of(decrement: Array, ratio: Array) -> Array:
    """Return ν² (½ + a/4), infinite unless a <= ½: see above. NaN is not <= ½ either."""
    return jnp.where(ratio <= SAFE, decrement**2 * (0.5 + ratio / 4), jnp.inf)


def dense_certificate(
    likelihood: Any, factor: Array, hessian: Array, a: Array, terms: Array, dz: Array, decrement: Array
) -> tuple[Array, Array]:
    """Return gap and ratio, infinite where rounding could decide, from a Hessian [M (D+1), M (D+1)], its factor, and
    the examples a [D+1, N]; terms [M (D+1)] are the sums of absolute terms of the gradient.

    sup_v |Vᵀ x|² / vᵀ H v <= xᵀ (Σ_m [H⁻¹]_mm) x, with equality for M = 1.
    """
    width, n = a.shape
    size = hessian.shape[0]
    outputs = size // width
    inverse = jax.scipy.linalg.cho_solve((factor, True), jnp.eye(size, dtype=hessian.dtype))
    blocks = jnp.einsum("mdme->de", inverse.reshape(outputs, width, outputs, width))
    leverage = jnp.max(jnp.sum((blocks @ a) * a, axis=0))
    diagonal, spread = jnp.diagonal(hessian), jnp.diagonal(inverse)
    c = SELF_CONCORDANCE[type(likelihood)]
    count = n + size + (outputs + 1) ** 2
    loose = count * EPS * size * jnp.sum(diagonal * spread) + 2 * c * dz
    loose = jnp.where((loose <= LOOSEST) & (jnp.min(diagonal) > TINY), loose, jnp.nan)  # NaN: nothing is proven
    wrong = (n + 8) * EPS * jnp.sum(terms * jnp.sqrt(spread)) + jnp.sqrt(largest(likelihood)) * dz
    decrement = (decrement + wrong) / jnp.sqrt(1 - loose)
    ratio = decrement * c * jnp.sqrt(leverage / (1 - loose))
    ratio = jnp.where(jnp.isfinite(ratio), ratio, jnp.inf)
    return gap_of(decrement, ratio), ratio
