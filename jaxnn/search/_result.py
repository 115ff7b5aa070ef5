"""What a search returns: the best point, how it ended, what it cost, and the path, so that it can be drawn."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._checks import is_traced
from jaxnn._errors import MemoryBudgetError, NonFiniteError, said
from jaxnn._state import Status
from jaxnn._types import Params

MEMORY = 2**30  # bytes that a path may take


class Search(NamedTuple):
    """Where a search of the highest g(w) ended, and how it came there.

    Attributes:
      params: the point it ended at, a pytree like w0.
      value: `dtype[]`, g there, as the compiled program had it (g alone may round its last digit in another way).
      status: a `Status`. STOPPED_EARLY: no neighbour at the smallest step was higher. MAX_EPOCHS: the steps or
        evaluations it was allowed are spent. DIVERGED: a value or a gradient was not finite. CONVERGED: the norm of an
        exact gradient was not above the tolerance.
      evaluations: of g; for those of a gradient, see `derivative`.
      path: the points it went through, stacked: each leaf `dtype[rows, *leaf]`, row 0 is w0. Without `keep_path`, only
        w0 and `params`.
      values: `dtype[rows]`, g at each of these points, kept in any case.
      gradient_norms: `dtype[rows]`, |∇g|₂ there; None where no gradient was taken.

    Called under `jit` or `vmap`, no row can be cut off: those never reached hold NaN in their place, and status and
    evaluations are arrays.
    """

    params: Params
    value: Array
    status: Any
    evaluations: Any
    path: Params
    values: Any
    gradient_norms: Any = None


def check_path(who: str, w: Params, rows: int, advice: str) -> None:
    """Raise `MemoryBudgetError` where a path of so many points would take more memory than a path may."""
    need = rows * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(w))
    if need > MEMORY:
        raise MemoryBudgetError(
            f"{who}: the path takes at most {said(MEMORY)}; got {rows:,} points of {said(need / rows)}, {said(need)}; "
            f"pass keep_path=False, or {advice}"
        )


def ends(w: Params, params: Params) -> Params:
    """Return the path of two rows, where it began and where it ended."""
    return jax.tree.map(lambda *a: jnp.stack(a), w, params)


def finished(who: str, result: Search, rows: Array) -> Search:
    """Return a result without the rows never reached, the path in NumPy arrays; raise where g(w0) is no start.

    One under a transformation is returned as it came: its numbers cannot be looked at.
    """
    if is_traced(result, rows):
        return result
    count, tail = jax.device_get((rows, result[2:]))
    status, evaluations, path, values, norms = jax.tree.map(lambda a: a[:count] if np.ndim(a) else a, tail)
    if np.isnan(values[0]) or values[0] == np.inf or (norms is not None and np.isinf(values[0])):
        raise NonFiniteError(f"{who}: g(w0) is a number to climb from; got g(w0)={values[0]}; start where g is finite")
    return Search(result.params, result.value, Status(int(status)), int(evaluations), path, values, norms)
