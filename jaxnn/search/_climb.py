"""Hill climbing: look at the neighbours of a point, go to a higher one, look closer where there is none."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._checks import as_key, check_choice, check_flag, check_integer, check_key, check_positive, is_traced
from jaxnn._errors import ConfigError
from jaxnn._state import Status
from jaxnn._types import Params, scalar
from jaxnn.search._flat import Flat, for_each
from jaxnn.search._given import checked_start
from jaxnn.search._result import Search, check_path, ends, finished

RULES = ("best", "first")
NEIGHBOURS = ("axes", "random")


def hill_climb(
    g: Callable[[Any], Any],
    w0: Any,
    *,
    step: Any = 1.0,
    shrink: Any = 0.5,
    smallest_step: Any = 1e-3,
    rule: str = "best",
    neighbours: str = "axes",
    directions: int | None = None,
    key: Any = None,
    max_evaluations: int = 10_000,
    keep_path: bool = True,
) -> Search:
    """Climb g from w0 by values alone: to a higher neighbour, and with smaller steps once there is none.

        axes       w ± step e_i, for each of the P numbers in w: 2P neighbours
        random     w + step u, u uniform on the unit sphere: `directions` neighbours
        best       go to the highest neighbour (the first of equals), if it is higher than w: a round costs them all
        first      go to the first that is higher, and on along the axis that helped (random: always a new u)

    When no neighbour is higher, step <- shrink step. A neighbour that is not higher, or not finite, is never gone to,
    so g never falls along the path, and what is returned is never worse than w0.

    Args:
      g: a pure function of w to a floating-point number; see `derivative`.
      w0: the start, finite, with g(w0) a number or -inf; a number, an array, or any pytree of floating-point arrays.
      step: length of the first steps, > 0, in the units of w.
      shrink: in (0, 1).
      smallest_step: ends the search once the step is below it; > 0, not above `step`.
      rule: "best" or "first".
      neighbours: "axes" or "random".
      directions: how many random neighbours, >= 1; None: 2P.
      key: typed key or int seed, for random neighbours only, which need it.
      max_evaluations: ends the search too, and is never exceeded: a round of "best" that would is not begun.
      keep_path: whether the whole path is returned; up to 1 GiB, held up to three times
        over while the result is made.

    Returns:
      A `Search`: status STOPPED_EARLY where no neighbour at the smallest step was higher (that is no proof of a
      maximum: a ridge between the axes has none either), MAX_EPOCHS where the evaluations are spent.

    Raises:
      ConfigError: an option that means nothing; fewer evaluations than one round takes.
      ShapeError, DtypeError, NonFiniteError: a start that is none; g that returns anything but one number.
      MemoryBudgetError: the path would not fit.

    Notes:
      "best" evaluates its neighbours together, at most 1,024 at once, fewer for large P. Random direction number n is
      drawn from `fold_in(key, n)`. `rule`, `neighbours`, `directions`, `max_evaluations` and `keep_path` are compiled
      in; steps and key are not.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> def g(w):
      ...     return -jnp.sum((w - jnp.array([3.0, -1.0])) ** 2)
      >>> found = jaxnn.search.hill_climb(g, jnp.zeros(2))
      >>> found.params.tolist(), str(found.status), found.evaluations
      ([3.0, -1.0], 'stopped_early', 57)
      >>> found.path.tolist()
      [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [3.0, -1.0]]

    References:
      R. Hooke, T. Jeeves, Direct Search Solution of Numerical and Statistical Problems (1961); T. Kolda, R. Lewis,
      V. Torczon, Optimization by Direct Search (2003), section 3.
    """
    who = "hill_climb"
    check_choice(who, "rule", rule, RULES)
    check_choice(who, "neighbours", neighbours, NEIGHBOURS)
    for name, value in (("step", step), ("smallest_step", smallest_step), ("shrink", shrink)):
        check_positive(who, name, value)
    if not is_traced(shrink) and not float(np.float32(shrink)) < 1:
        raise ConfigError(f"{who}: shrink is below 1, in float32, too; got shrink={shrink!r}; pass 0.5")
    if not is_traced(step, smallest_step) and smallest_step > step:
        raise ConfigError(
            f"{who}: the smallest step is not above the first; got smallest_step={smallest_step}, step={step}; pass a "
            "smaller one"
        )
    directions = _checked_directions(who, neighbours, directions, key)
    w = checked_start(who, g, w0)
    flat = Flat(w)
    count = directions or 2 * flat.size
    cost = count if rule == "best" else 1
    max_evaluations = check_integer(who, "max_evaluations", max_evaluations, at_least=1, at_most=10**8)
    if max_evaluations < 1 + cost:
        raise ConfigError(
            f"{who}: there are evaluations for the start and one round; got max_evaluations={max_evaluations}, a round "
            f"takes {cost:,}; pass {1 + cost:,} or more, or another rule"
        )
    check_flag(who, "keep_path", keep_path)
    if keep_path:
        check_path(who, w, 1 + (max_evaluations - 1) // cost, "fewer max_evaluations")
    made_key = as_key(who, key) if neighbours == "random" else None
    result, rows = _climb(
        w,
        *(scalar(number, flat.dtype) for number in (step, shrink, smallest_step)),
        made_key,
        g=g,
        is_best=rule == "best",
        count=count,
        max_evaluations=max_evaluations,
        keep_path=keep_path,
    )
    return finished(who, result, rows)


def _checked_directions(who: str, neighbours: str, directions: Any, key: Any) -> int | None:
    """Return the number of directions; raise unless random neighbours have a key, and only they have a number."""
    if directions is not None:
        directions = check_integer(who, "directions", directions, at_least=1, at_most=10**8)
        if neighbours == "axes":
            raise ConfigError(
                f"{who}: along the axes there are 2P neighbours; got directions={directions}; leave it out, or pass "
                "neighbours='random'"
            )
    if key is not None:
        check_key(who, key)
    elif neighbours == "random":
        raise ConfigError(f"{who}: random neighbours are drawn; got key=None; pass key=0, or jax.random.key(0)")
    return directions


class _Climb(NamedTuple):
    """Where a climb is: its point as a vector, how many neighbours in a row were no higher, and which is next."""

    point: Array
    value: Array
    step: Array
    evaluations: Array
    failures: Array
    next: Array
    moves: Array
    path: Any
    values: Array


@partial(jax.jit, static_argnames=("g", "is_best", "count", "max_evaluations", "keep_path"))
def _climb(
    w: Params,
    step: Array,
    shrink: Array,
    smallest_step: Array,
    key: Any,
    *,
    g: Callable[[Any], Any],
    is_best: bool,
    count: int,
    max_evaluations: int,
    keep_path: bool,
) -> tuple[Search, Array]:
    flat = Flat(w)
    cost = count if is_best else 1
    most_moves = (max_evaluations - 1) // cost

    def height(point: Array) -> Array:
        """Return g; -inf where a number of the point is beyond the dtype of its leaf."""
        return jnp.where(jnp.all(jnp.isfinite(point)), g(flat.point(point)), -jnp.inf)

    def neighbour(now: _Climb, j: Array) -> Array:
        if key is None:
            return flat.rounded(now.point.at[j // 2].add(jnp.where(j % 2, -now.step, now.step)))
        number = now.evaluations + j if is_best else now.evaluations
        u = jax.random.normal(jax.random.fold_in(key, number), now.point.shape, now.point.dtype)
        return flat.rounded(now.point + now.step * u / jnp.maximum(jnp.linalg.norm(u), jnp.finfo(u.dtype).tiny))

    def look(now: _Climb) -> _Climb:
        if is_best:
            heights = for_each(lambda j: height(neighbour(now, j)), count, flat.size)
            heights = jnp.where(jnp.isfinite(heights), heights, -jnp.inf)
            j = jnp.argmax(heights).astype(jnp.int32)
            value = heights[j]
        else:
            j = now.next
            value = height(neighbour(now, j))
        higher = (value > now.value) & jnp.isfinite(value)
        failures = jnp.where(higher, 0, now.failures + cost)
        moves = now.moves + higher
        point, value = jnp.where(higher, neighbour(now, j), now.point), jnp.where(higher, value, now.value)
        return _Climb(
            point,
            value,
            jnp.where(failures >= count, now.step * shrink, now.step),
            now.evaluations + cost,
            jnp.where(failures >= count, 0, failures),
            jnp.where(higher, now.next, (now.next + 1) % count),
            moves,
            now.path.at[moves].set(point) if keep_path else None,
            now.values.at[moves].set(value),
        )

    def goes_on(now: _Climb) -> Array:
        return (now.value < jnp.inf) & (now.step >= smallest_step) & (now.evaluations + cost <= max_evaluations)

    start, zero, one = flat.vector(w), jnp.int32(0), jnp.int32(1)
    value = height(start)
    path = jnp.full((most_moves + 1, flat.size), jnp.nan, flat.dtype).at[0].set(start) if keep_path else None
    values = jnp.full(most_moves + 1, jnp.nan, value.dtype).at[0].set(value)
    end = jax.lax.while_loop(goes_on, look, _Climb(start, value, step, one, zero, zero, zero, path, values))
    status = jnp.where(end.step < smallest_step, Status.STOPPED_EARLY, Status.MAX_EPOCHS)
    status = jnp.where(value < jnp.inf, status, Status.DIVERGED).astype(jnp.int32)
    params = flat.point(end.point)
    path = jax.vmap(flat.point)(end.path) if keep_path else ends(w, params)
    return Search(params, end.value, status, end.evaluations, path, end.values), end.moves + 1
