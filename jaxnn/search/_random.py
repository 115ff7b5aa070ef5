"""Random search: points drawn around the start, the best kept. What every other method has to beat."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._checks import as_key, check_flag, check_integer, check_positive
from jaxnn._state import Status
from jaxnn._types import Params, scalar
from jaxnn.search._flat import Flat, for_each
from jaxnn.search._given import checked_start
from jaxnn.search._result import Search, check_path, ends, finished


def random_search(
    g: Callable[[Any], Any], w0: Any, scale: Any, num_samples: int, key: Any, *, keep_path: bool = True
) -> Search:
    """Draw points w0 + scale n, n standard normal, and keep the one where g is highest.

    Args:
      g: a pure function of w to a floating-point number; see `derivative`.
      w0: the start, finite, with g(w0) a number or -inf; a pytree of floating-point arrays.
      scale: standard deviation of each number, > 0, in the units of w.
      num_samples: how many points to draw, >= 1.
      key: typed key or int seed; sample n is drawn from `fold_in(key, n)`.
      keep_path: whether the whole path is returned; up to 1 GiB, held up to three times
        over while the result is made.

    Returns:
      A `Search`: the highest of w0 and the samples (the first of equals; one that is not finite never), and as its path
      w0 and each sample that was higher than all before it. Status MAX_EPOCHS, num_samples + 1 evaluations.

    Raises:
      ConfigError, ShapeError, DtypeError, NonFiniteError, MemoryBudgetError: as `hill_climb`.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> def g(w):
      ...     return -jnp.sum(w**2)
      >>> found = jaxnn.search.random_search(g, jnp.ones(2), 1.0, 1000, key=0)
      >>> found.value.item() > -0.01, found.evaluations
      (True, 1001)
    """
    who = "random_search"
    check_positive(who, "scale", scale)
    num_samples = check_integer(who, "num_samples", num_samples, at_least=1, at_most=10**8)
    made_key = as_key(who, key)
    w = checked_start(who, g, w0)
    check_flag(who, "keep_path", keep_path)
    if keep_path:
        check_path(who, w, num_samples + 1, "fewer num_samples")
    result, rows = _search(w, scalar(scale, Flat(w).dtype), made_key, g=g, num_samples=num_samples, keep_path=keep_path)
    return finished(who, result, rows)


class _Best(NamedTuple):
    """The highest point so far, and the path of those that were."""

    point: Array
    value: Array
    rows: Array
    path: Any
    along: Array


@partial(jax.jit, static_argnames=("g", "num_samples", "keep_path"))
def _search(
    w: Params, scale: Array, key: Array, *, g: Callable[[Any], Any], num_samples: int, keep_path: bool
) -> tuple[Search, Array]:
    flat = Flat(w)
    start = flat.vector(w)

    def sample(n: Array) -> Array:
        noise = jax.random.normal(jax.random.fold_in(key, n), start.shape, start.dtype)
        return flat.rounded(start + scale * noise)

    first = g(w)
    values = for_each(lambda n: g(flat.point(sample(n))), num_samples, flat.size)

    def keep(best: _Best, n: Array) -> tuple[_Best, None]:
        def higher() -> _Best:
            rows, point = best.rows, sample(n)  # drawn again, for few are kept
            path = best.path.at[rows].set(point) if keep_path else None
            return _Best(point, values[n], rows + 1, path, best.along.at[rows].set(values[n]))

        # Nothing is higher than a NaN. The look at the point is not beside g: there XLA rounds the two draws apart.
        is_higher = (values[n] > best.value) & jnp.isfinite(values[n]) & jnp.all(jnp.isfinite(sample(n)))
        return jax.lax.cond(is_higher, higher, lambda: best), None

    path = jnp.full((num_samples + 1, flat.size), jnp.nan, flat.dtype).at[0].set(start) if keep_path else None
    along = jnp.full(num_samples + 1, jnp.nan, first.dtype).at[0].set(first)
    best, _ = jax.lax.scan(
        keep, _Best(start, first, jnp.int32(1), path, along), jnp.arange(num_samples, dtype=jnp.int32)
    )
    params = flat.point(best.point)
    path = jax.vmap(flat.point)(best.path) if keep_path else ends(w, params)
    status = jnp.where(first < jnp.inf, Status.MAX_EPOCHS, Status.DIVERGED).astype(jnp.int32)
    return Search(params, best.value, status, jnp.int32(num_samples + 1), path, best.along), best.rows
