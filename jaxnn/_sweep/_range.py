"""The learning rate range test: one short run whose rate grows at every step, from far too small to far too large."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn._ascent import checked_run
from jaxnn._checks import check_integer, check_positive
from jaxnn._errors import ConfigError
from jaxnn._objectives import without_absent
from jaxnn._optimizer import as_optimizer
from jaxnn._plans import MiniBatch
from jaxnn._program import Run
from jaxnn._state import State, begin, checked_start
from jaxnn._step import step
from jaxnn._types import Batch, Params, Plan, num_examples

WHO = "learning_rate_range"


class RateRange(NamedTuple):
    """What a learning rate range test saw.

    Attributes:
      learning_rate: `float64[T]`, the rate of each step; a step whose batch had no weight is left out.
      log_likelihood: `float64[T]`, of the step's batch before it, nats per example.
      smoothed: `float64[T]`, its mean over a tenth of the steps about each; NaN from the first that is not finite.
      steepest: the rate at which `smoothed` rises fastest, one to begin with; NaN where it never rose.
      edge: the first rate after the top at which half of what had been gained is lost again, or nothing is finite any
        more; infinity if none was.
    """

    learning_rate: np.ndarray
    log_likelihood: np.ndarray
    smoothed: np.ndarray
    steepest: float
    edge: float


def learning_rate_range(
    objective: Any,
    optimizer: Any,
    params: Params,
    train: Any,
    *,
    smallest: float = 1e-5,
    largest: float = 10.0,
    num_steps: int = 200,
    plan: Plan = MiniBatch(32),  # noqa: B008  (a frozen value)
    key: Any = 0,
) -> RateRange:
    """Return how the log likelihood fares while the rate grows: rate_t = smallest (largest / smallest)^(t / (T - 1)).

    A pure function: nothing of it is left in what is fitted later. It looks at differences of log likelihoods, never at
    ratios, so a constant that is added to them changes nothing.

    Args:
      objective, params, train, plan, key: as for `fit`.
      optimizer: a factory, as `optax.sgd`.
      smallest, largest: the first and the last rate, 0 < smallest < largest.
      num_steps: T, >= 10.

    Returns:
      A `RateRange`. For a closer look, `sweep` the rates between a tenth of `steepest` and `edge`.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: before anything is compiled.

    Example:
      >>> import jaxnn, optax
      >>> ds = jaxnn.data.load("digits")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Mlp((64, 32, 10)), jaxnn.categorical)
      >>> seen = jaxnn.learning_rate_range(objective, optax.sgd, objective.model.init(0), ds)
      >>> 0.01 < seen.steepest < seen.edge
      True

    References: Smith 2017, "Cyclical learning rates for training neural networks" (arXiv 1506.01186), section 3.3.
    """
    num_steps = check_integer(WHO, "num_steps", num_steps, at_least=10, at_most=10**6)
    check_positive(WHO, "smallest", smallest)
    check_positive(WHO, "largest", largest)
    if not smallest < largest:
        raise ConfigError(f"{WHO}: rates grow; got smallest={smallest}, largest={largest}; make the second larger")
    made = as_optimizer(WHO, optimizer)
    if not made.is_factory:
        raise ConfigError(
            f"{WHO}: the rate is that of the test; got optimizer={made.name}, which has its own; pass the factory, as "
            "optax.sgd"
        )
    first = checked_start(WHO, objective, optimizer, params, key, smallest)
    run = checked_run(WHO, Run(objective, optimizer, train, None, plan, "log_likelihood", "mean"), first[1], None, 0.0)
    rates = np.geomspace(smallest, largest, num_steps)
    seen, mass = _seen(run, begin(*first), jnp.asarray(rates, first[3].dtype))
    kept = np.asarray(mass) > 0  # a batch without weight made no step
    return _read(rates[kept], np.asarray(seen, np.float64)[kept])


@jax.jit
def _seen(run: Run, state: State, rates: Float[Array, " T"]) -> tuple[Array, Array]:
    """Return the log likelihood of every batch before its step, and the weight of the batch."""
    n = num_examples(run.train)
    per_epoch = run.plan.num_steps(n)

    def one(state: State, t_and_rate: Any) -> tuple[State, tuple[Array, Array]]:
        t, rate = t_and_rate
        indices, weights = run.plan.indices(state.key, t // per_epoch, t % per_epoch, n)
        x, y, weight = run.train if indices is None else jax.tree.map(lambda a: a[indices], run.train)
        if weights is not None:
            weight = weights if weight is None else weight * weights
        batch = without_absent(Batch(x, y, weight))
        take = partial(step, run.objective, run.optimizer, run.aggregate, may_be_empty=weight is not None)
        (params, opt_state), (total, mass), _ = take(state._replace(learning_rate=rate), batch)
        return state._replace(params=params, opt_state=opt_state), (total / mass, jnp.asarray(mass, total.dtype))

    _, seen_and_mass = jax.lax.scan(one, state, (jnp.arange(len(rates), dtype=jnp.int32), rates))
    return seen_and_mass


def _read(rates: np.ndarray, seen: np.ndarray) -> RateRange:
    """Return where the log likelihood rises fastest, and where it falls."""
    broken = np.flatnonzero(~np.isfinite(seen))
    end = broken[0] if broken.size else len(seen)
    width = max(1, len(seen) // 20)
    smoothed = np.full(len(seen), np.nan)
    for t in range(end):
        smoothed[t] = seen[max(0, t - width) : min(end, t + width + 1)].mean()
    if end == 0:
        return RateRange(rates, seen, smoothed, float("nan"), float(rates[0]))
    top = int(np.argmax(smoothed[:end]))
    rise = np.diff(smoothed[: top + 1])
    half = (smoothed[0] + smoothed[top]) / 2
    lost = np.flatnonzero(smoothed[top:end] < half)
    edge = rates[top + lost[0]] if lost.size else rates[end] if end < len(rates) else np.inf
    return RateRange(rates, seen, smoothed, float(rates[int(np.argmax(rise))]) if top else float("nan"), float(edge))
