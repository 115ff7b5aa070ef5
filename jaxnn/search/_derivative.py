"""∂g/∂w by five methods behind one door: differences of values, random directions, forward and reverse mode."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._checks import as_key, check_choice, check_integer, check_key, check_positive
from jaxnn._errors import ConfigError
from jaxnn._types import Params, scalar
from jaxnn.search._flat import Flat, for_each
from jaxnn.search._given import checked

METHODS = ("reverse", "forward", "one_sided", "central", "spsa")


class Derivative(NamedTuple):
    """The derivative of g at w, and what it cost.

    Attributes:
      value: `dtype[]`, g(w).
      gradient: ∂g/∂w, a pytree like w, in the dtypes of w.
      evaluations: of g, see `derivative`.
    """

    value: Array
    gradient: Params
    evaluations: int


def derivative(
    g: Callable[[Any], Any],
    w: Any,
    method: str = "reverse",
    *,
    step: Any = None,
    key: Any = None,
    samples: int = 1,
) -> Derivative:
    """Differentiate a function g(w) -> number at w, for P numbers in w.

        reverse     ∂g/∂w exactly, backwards through g              1 evaluation, and its backward pass (1 to 4 more)
        forward     ∂g/∂w exactly, a derivative along each e_i      P tangents, each of about the cost of g, counted P
        one_sided   (g(w + h e_i) - g(w)) / h                       P + 1
        central     (g(w + h e_i) - g(w - h e_i)) / 2h              2P + 1
        spsa        (g(w + hΔ) - g(w - hΔ)) / 2hΔ_i, Δ_i = ±1       2 samples + 1

    The method of finite differences errs in two ways: h too large truncates the series, h too small divides the
    rounding of g, eps |g|, by h. One-sided, h/2 |g''| + 2 eps |g| / h is smallest about h = eps^(1/2), an error about
    eps^(1/2); central, h²/6 |g'''| + eps |g| / h about h = eps^(1/3), an error about eps^(2/3). Hence the defaults,
    times max(1, |w_i|), for where w_i is large, a small h would not change its last digit.

    Args:
      g: a pure function of w that JAX can trace, to a floating-point number; compiled in, see `jaxnn.search`. A log
        likelihood: see the example. One in NumPy, in `jax.pure_callback`, has differences and spsa only.
      w: where; a number, an array, or any pytree of floating-point arrays.
      method: one of those above.
      step: for differences, h_i = step max(1, |w_i|), > 0. None: as above, with eps that of w_i or that of g(w), the
        coarser. spsa has one h, that of the largest |w_i|: between two, their ratio would add to the noise.
      key: typed key or int seed, for spsa only, which needs it.
      samples: of spsa, how many Δ to average over, >= 1.

    Returns:
      A `Derivative`. Where g is not finite, so is a difference of it: a gradient of finite numbers came of finite
      values. A step too small to move w_i, or one beyond its dtype, gives NaN
      there, not 0.

    Raises:
      ConfigError: an option that means nothing; spsa without a key; g that JAX cannot trace.
      ShapeError, DtypeError: w without numbers, or integers; g that returns anything but one floating-point number.

    Notes:
      h is the one that is used, (w + h) - w as rounded. Differences are taken in float32 or wider. Where g multiplies
      matrices with fewer digits than its dtype has (TF32 on a GPU), eps is theirs: give a larger step, or set
      `jax.default_matmul_precision`. g is vectorised over directions, at most 1,024 at once, fewer for large P. The
      mean of spsa over keys is ∂g/∂w, but for terms in h²; it costs the same whatever P, and pays in noise: a variance
      of (1 - 1/P) |∂g/∂w|² / samples in each component, on average.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> ds = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> g = lambda w: objective(w, ds.batch)
      >>> w = objective.model.init(0)
      >>> exact = jaxnn.search.derivative(g, w)
      >>> close = jaxnn.search.derivative(g, w, "central")
      >>> exact.evaluations, close.evaluations  # P = 15
      (1, 31)
      >>> bool(jnp.allclose(exact.gradient[0].kernel, close.gradient[0].kernel, atol=1e-3))
      True

    References:
      J. Nocedal, S. Wright, Numerical Optimization (2006), section 8.1; J. Spall, Multivariate Stochastic Approximation
      Using a Simultaneous Perturbation Gradient Approximation (1992); A. Griewank, A. Walther, Evaluating Derivatives
      (2008), chapter 3.
    """
    who = "derivative"
    samples = check_method(who, method, step, key, samples)
    w = checked(who, g, w)
    size = Flat(w).size
    value, gradient = _derivative(w, *numbers(who, w, step, key, method), g=g, method=method, samples=samples)
    return Derivative(value, gradient, evaluations_of(method, size, samples))


def check_method(who: str, method: Any, step: Any, key: Any, samples: Any) -> int:
    """Return `samples`; raise `ConfigError` unless these options of a derivative mean something."""
    check_choice(who, "method", method, METHODS)
    samples = check_integer(who, "samples", samples, at_least=1, at_most=10**6)
    if step is not None:
        check_positive(who, "step", step)
    if key is not None:
        check_key(who, key)
    elif method == "spsa":
        raise ConfigError(f"{who}: spsa draws its directions; got key=None; pass key=0, or jax.random.key(0)")
    return samples


def numbers(who: str, w: Params, step: Any, key: Any, method: str) -> tuple[Array | None, Array | None]:
    """Return the step as an array and the key as a typed one, None for what this method does not use."""
    is_difference = method not in ("reverse", "forward")
    return (
        scalar(step, Flat(w).dtype) if is_difference and step is not None else None,
        as_key(who, key) if method == "spsa" else None,
    )


def evaluations_of(method: str, size: int, samples: int) -> int:
    """Return how often one derivative evaluates g."""
    return {"reverse": 1, "forward": size, "one_sided": size + 1, "central": 2 * size + 1, "spsa": 2 * samples + 1}[
        method
    ]


def estimate(
    g: Callable[[Any], Any], w: Params, step: Any, key: Any, method: str, samples: int
) -> tuple[Array, Params]:
    """Return g(w) and ∂g/∂w, inside a program."""
    if method == "reverse":
        return jax.value_and_grad(g)(w)
    flat = Flat(w)
    v = flat.vector(w)

    def f(vector: Array) -> Array:
        return g(flat.point(vector))

    if method == "forward":
        values, slopes = for_each(lambda i: jax.jvp(f, (v,), (jnp.zeros_like(v).at[i].set(1),)), flat.size, flat.size)
        return values[0], flat.point(slopes)
    value = f(v)
    eps = flat.eps(value.dtype)
    if method == "spsa":
        return value, flat.point(_spsa(flat, f, v, step, key, eps, samples))
    h = (eps ** (1 / 2 if method == "one_sided" else 1 / 3) if step is None else step) * jnp.maximum(1, jnp.abs(v))
    up = flat.rounded(v + h)
    down = v if method == "one_sided" else flat.rounded(v - h)

    def slope(i: Array) -> Array:
        low = value if method == "one_sided" else f(v.at[i].set(down[i]))
        return _minus(f(v.at[i].set(up[i])), low) / _finite(up[i] - down[i])

    return value, flat.point(for_each(slope, flat.size, flat.size))


def _spsa(flat: Flat, f: Callable[[Array], Array], v: Array, step: Any, key: Array, eps: Array, samples: int) -> Array:
    h = (jnp.max(eps) ** (1 / 3) if step is None else step) * jnp.maximum(1, jnp.max(jnp.abs(v)))

    def add(total: Array, key: Array) -> tuple[Array, None]:
        signs = jax.random.rademacher(key, v.shape, v.dtype)
        up, down = flat.rounded(v + h * signs), flat.rounded(v - h * signs)
        return total + _minus(f(up), f(down)) / _finite(up - down), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(v), jax.random.split(key, samples))  # one after the other: P numbers
    return total / samples


def _finite(h: Array) -> Array:
    """Return h, NaN where it is infinite: divided by that, any difference would be 0."""
    return jnp.where(jnp.isfinite(h), h, jnp.nan)


def _minus(a: Array, b: Array) -> Array:
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return a.astype(wide) - b.astype(wide)


@partial(jax.jit, static_argnames=("g", "method", "samples"))
def _derivative(
    w: Params, step: Any, key: Any, *, g: Callable[[Any], Any], method: str, samples: int
) -> tuple[Array, Params]:
    return estimate(g, w, step, key, method, samples)
