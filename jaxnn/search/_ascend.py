"""Gradient ascent on any function, with any optimiser, the whole path kept."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._checks import check_flag, check_integer, check_number, is_traced
from jaxnn._errors import ConfigError
from jaxnn._optimizer import Optimizer, as_optimizer, check_rate, check_works
from jaxnn._state import Status
from jaxnn._types import Params, scalar
from jaxnn.search._derivative import check_method, estimate, evaluations_of, numbers
from jaxnn.search._flat import Flat, norm
from jaxnn.search._given import checked_start, value_dtype
from jaxnn.search._result import Search, check_path, ends, finished

EXACT = ("reverse", "forward")


def gradient_ascent(
    g: Callable[[Any], Any],
    w0: Any,
    optimizer: Any,
    *,
    learning_rate: Any = None,
    num_steps: int = 100,
    method: str = "reverse",
    step: Any = None,
    key: Any = None,
    samples: int = 1,
    tolerance: Any = 0.0,
    keep_path: bool = True,
) -> Search:
    """Climb g from w0 along its gradient: w <- w + update(∇g(w)), num_steps times, as one compiled program.

    With `optax.sgd` the update is learning_rate ∇g(w). Where g is a concave quadratic of largest curvature L, that
    converges for rates below 2 / L; above it, what of the start lies along that direction grows with every step.

    Args:
      g: a pure function of w to a floating-point number. A log likelihood: see the example.
      w0: the start, finite, with g(w0) finite; a number, an array, or any pytree of floating-point arrays.
      optimizer: an optax transformation, as `optax.lbfgs()`; or a factory, as `optax.sgd`, with `learning_rate`.
      learning_rate: a finite number >= 0, with a factory only. It is data: a new one does not recompile, and
        `jax.vmap` over it runs many at once.
      num_steps: T, >= 1; compiled in.
      method, step, key, samples: how the gradient is taken, as for `derivative`; spsa draws anew at every step.
      tolerance: a norm; > 0: ends the run CONVERGED once |∇g|₂ is not above it. With exact gradients only (reverse,
        forward): a difference of rounded values can be 0 anywhere.
      keep_path: whether every point is returned, or only the start and the end.

    Returns:
      A `Search`: T + 1 rows unless the run ended sooner, CONVERGED or DIVERGED (a value, or the norm of a gradient, is
      not finite: that point is the last row, and `params` the last before it), else MAX_EPOCHS. `params` is the last
      point, not the best: where the path went is what there is to see; `values.argmax()` tells where it was highest.

    Raises:
      ConfigError: an optimiser that cannot be used, an option that means nothing.
      ShapeError, DtypeError, NonFiniteError: a start that is none; g that returns anything but one number.
      MemoryBudgetError: the path would not fit.

    Notes:
      Evaluations are those of the gradients, see `derivative`; what a line search evaluates inside an optimiser (in
      reverse mode, whatever the method) is not counted. Two calls of `optax.lbfgs()` are two optimisers, and compile
      twice; a factory is one.

    Example:
      >>> import jax, optax, jaxnn
      >>> ds = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> g = lambda w: objective(w, ds.batch)
      >>> climb = lambda rate: jaxnn.search.gradient_ascent(g, objective.model.init(0), optax.sgd, learning_rate=rate)
      >>> [f"{value:.2f}" for value in climb(0.1).values[[0, 1, 100]]]
      ['-1.10', '-1.03', '-0.44']
      >>> jax.vmap(climb)(jax.numpy.array([0.01, 0.1])).values.shape
      (2, 101)

    References:
      J. Nocedal, S. Wright, Numerical Optimization (2006), chapters 2 and 3.
    """
    who = "gradient_ascent"
    made = as_optimizer(who, optimizer)
    check_rate(who, made, learning_rate)
    num_steps = check_integer(who, "num_steps", num_steps, at_least=1, at_most=10**8)
    samples = check_method(who, method, step, key, samples)
    check_number(who, "tolerance", tolerance)
    if method not in EXACT and not (not is_traced(tolerance) and float(tolerance) == 0):
        raise ConfigError(
            f"{who}: a tolerance needs exact gradients; got tolerance={tolerance!r} with method={method!r}; pass "
            "method='reverse', or leave tolerance out"
        )
    w = checked_start(who, g, w0)
    each = evaluations_of(method, Flat(w).size, samples)
    if (num_steps + 1) * each >= 2**31:
        raise ConfigError(
            f"{who}: a search counts fewer than 2**31 evaluations; got num_steps={num_steps:,}, {each:,} each; take "
            "fewer steps, or method='reverse'"
        )
    check_flag(who, "keep_path", keep_path)
    if keep_path:
        check_path(who, w, num_steps + 1, "fewer num_steps")
    dtype = Flat(w).dtype
    rate = scalar(jnp.nan if learning_rate is None else learning_rate, dtype)
    check_works(who, made, w, rate)
    result, rows = _ascend(
        w,
        rate,
        scalar(tolerance, dtype),
        *numbers(who, w, step, key, method),
        g=g,
        optimizer=made,
        method=method,
        samples=samples,
        num_steps=num_steps,
        keep_path=keep_path,
    )
    return finished(who, result, rows)


class _Run(NamedTuple):
    """A run before the look at `params`; `last` is the latest point that was finite there, and its value."""

    params: Params
    opt_state: Any
    last: tuple[Params, Array]
    status: Array
    rows: Array


@partial(jax.jit, static_argnames=("g", "optimizer", "method", "samples", "num_steps", "keep_path"))
def _ascend(
    w: Params,
    rate: Array,
    tolerance: Array,
    step: Any,
    key: Any,
    *,
    g: Callable[[Any], Any],
    optimizer: Optimizer,
    method: str,
    samples: int,
    num_steps: int,
    keep_path: bool,
) -> tuple[Search, Array]:
    dtype, wide = value_dtype(g, w), Flat(w).dtype

    def look(run: _Run, t: Array) -> tuple[_Run, Any]:
        drawn = None if key is None else jax.random.fold_in(key, t)
        value, gradient = estimate(g, run.params, step, drawn, method, samples)
        size = norm(gradient).astype(wide)
        finite = jnp.isfinite(value) & jnp.isfinite(size)
        status = jnp.where(t == num_steps, Status.MAX_EPOCHS, Status.RUNNING)
        status = jnp.where((tolerance > 0) & (size <= tolerance), Status.CONVERGED, status)
        status = jnp.where(finite, status, Status.DIVERGED).astype(jnp.int32)

        def move() -> tuple[Params, Any]:
            update, opt_state = optimizer.update(gradient, run.opt_state, run.params, rate, value, g)
            return jax.tree.map(jnp.add, run.params, update), opt_state

        params, opt_state = jax.lax.cond(status == Status.RUNNING, move, lambda: (run.params, run.opt_state))
        known = finite | (t == 0)  # the start has a value, whatever its gradient
        last = jax.tree.map(lambda new, old: jnp.where(known, new, old), (run.params, value.astype(dtype)), run.last)
        row = run.params if keep_path else None, value.astype(dtype), size
        return _Run(params, opt_state, last, status, run.rows + 1), row

    def stay(run: _Run, t: Array) -> tuple[_Run, Any]:
        nothing = jnp.array(jnp.nan, dtype), jnp.array(jnp.nan, wide)
        return run, (jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), run.params) if keep_path else None, *nothing)

    def body(run: _Run, t: Array) -> tuple[_Run, Any]:
        return jax.lax.cond(run.status == Status.RUNNING, look, stay, run, t)

    nothing = w, jnp.array(jnp.nan, dtype)
    begin = _Run(w, optimizer.init(w, rate), nothing, jnp.int32(Status.RUNNING), jnp.int32(0))
    end, (path, values, norms) = jax.lax.scan(body, begin, jnp.arange(num_steps + 1, dtype=jnp.int32))
    params, value = end.last
    path = path if keep_path else ends(w, params)
    evaluations = end.rows * evaluations_of(method, Flat(w).size, samples)
    return Search(params, value, end.status, evaluations, path, values, norms), end.rows
