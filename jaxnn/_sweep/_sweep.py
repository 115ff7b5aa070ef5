"""The verb `sweep`: what it takes, and everything that it refuses before anything is compiled."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxnn._ascent import MOST_EPOCHS, checked_run
from jaxnn._checks import check_integer, check_same_tree, check_weight
from jaxnn._door import check_objective, checked_params
from jaxnn._ending import warn_of_one_class
from jaxnn._errors import ConfigError, ShapeError, brief
from jaxnn._optimizer import Optimizer, as_optimizer
from jaxnn._plans import MiniBatch
from jaxnn._program import Run, make_limits
from jaxnn._progress import drawer
from jaxnn._progress import print_line as print_fit_line
from jaxnn._state import checked_start
from jaxnn._sweep._driver import Starts, SweepProgress, print_line, run_all
from jaxnn._sweep._grid import OWN, check_lanes, lanes_of
from jaxnn._sweep._runs import Runs
from jaxnn._types import Params, Plan, num_examples
from jaxnn.data import Folds

WHO = "sweep"
MEMORY = 2**31  # bytes


def sweep(
    objective: Any,
    optimizer: Any,
    train: Any,
    hold_out: Any = None,
    *,
    grid: Any,
    params: Any = None,
    folds: Any = None,
    plan: Plan = MiniBatch(32),  # noqa: B008  (a frozen value)
    max_epochs: int = 200,
    patience: int | None = 10,
    min_delta: float = 0.0,
    monitor: str = "log_likelihood",
    aggregate: Any = "mean",
    memory: int = MEMORY,
    progress: bool | Callable[[SweepProgress], None] | None = None,
) -> Runs:
    """Fit many times at once, in one compiled program: every combination of rates, seeds, penalties, options, folds.

    Each lane is the run that `fit` would make of its settings, with early stopping of its own: the same up to rounding.
    A lane that has ended or diverged stays as it is and changes nothing in the others; when half of them have ended, a
    program of half the size goes on. The first Ctrl-C ends it within about a second with what was reached.

    Args:
      objective, train, hold_out, plan, max_epochs, patience, min_delta, monitor, aggregate: as for `fit`.
      optimizer: a factory, as `optax.adam`, or an optax transformation, which then has its own rate.
      grid: settings and their values, of which every combination is run, the last name changing fastest; or a list of
        dictionaries, one a run. The settings are
          learning_rate   finite, >= 0, with a factory only;
          seed            of the initial parameters, an int; without it 0;
          order           seed of the data order, an int; without it 0. Runs with one order read the same batches: they
                          differ by their settings, not by luck, and R first layers are one matrix product;
          l2              in place of the objective's;
          max_norm        in place of that of `aggregate=clipped(...)`;
          fold            which of the `folds`;
        and any option of the factory that is a number, as `b1` or `momentum`. No value compiles anything anew.
      params: how a run begins: a function of its seed that returns parameters, by default `objective.model.init`; or
        parameters, the same for all.
      folds: `data.k_fold(train, 5)` or `data.bootstrap(train, 100)`, in place of a hold-out: a run learns from the
        examples with a weight in `folds.train` and is judged by those in `folds.hold_out`. With a dictionary, every
        combination is run on each of them.
      memory: bytes for the runs that are in one program; more of them run in groups, one after the other.
      progress: True draws a line on standard error, False is silent, None draws on a terminal only; or a function of
        `SweepProgress`.

    Returns:
      A `Runs`: a table, the best run, all parameters, all histories.

    Raises:
      ConfigError, ShapeError, DtypeError, LabelError, NonFiniteError: before anything is compiled.
      MemoryBudgetError: not even one run fits in memory.

    Example:
      >>> import jaxnn, optax
      >>> train, hold_out = jaxnn.data.split(jaxnn.data.load("iris"), (0.7, 0.3))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Mlp((4, 8, 3)), jaxnn.categorical)
      >>> grid = {"learning_rate": [0.001, 0.01, 0.1], "seed": range(4)}
      >>> runs = jaxnn.sweep(objective, optax.sgd, train, hold_out, grid=grid, max_epochs=20)
      >>> len(runs), runs.best().settings["learning_rate"], runs.params[0].kernel.shape
      (12, 0.1, (12, 4, 8))
    """
    start = time.perf_counter()
    max_epochs = check_integer(WHO, "max_epochs", max_epochs, at_least=0, at_most=MOST_EPOCHS)
    memory = check_integer(WHO, "memory", memory, at_least=1)
    draw = _drawer(progress)
    made = as_optimizer(WHO, optimizer)
    lanes = lanes_of(WHO, _with_folds(grid, folds, hold_out))
    check_lanes(WHO, lanes, made, objective, aggregate, 0 if folds is None else len(folds.train))
    first, places = _initial(objective, params, lanes)
    _, one, _, rate = checked_start(
        WHO, objective, _of_first(made, lanes[0]), first[0], 0, lanes[0].get("learning_rate")
    )
    judged = train if folds is not None else hold_out
    patience = None if judged is None else patience
    run = Run(objective, optimizer, train, judged, plan, monitor, aggregate)
    run = checked_run(WHO, run, one, patience, min_delta)
    _check_folds(folds, num_examples(run.train))
    warn_of_one_class(run, one)
    starts = Starts(lanes, jax.tree.map(lambda *leaves: np.stack(leaves), *first), places, rate.dtype)
    limits = make_limits(starts.one_state(run), max_epochs, patience, min_delta)
    return run_all(run, starts, folds, limits, memory, draw, start)


def _drawer(progress: Any) -> Any:
    draw = drawer(WHO, progress)
    return print_line if draw is print_fit_line else draw


def _with_folds(grid: Any, folds: Any, hold_out: Any) -> Any:
    """Return the grid with every fold in it; raise `ConfigError` where folds and hold-out contradict each other."""
    if folds is None:
        return grid
    if not isinstance(folds, Folds):
        raise ConfigError(
            f"{WHO}: folds are weights of the examples; got folds={brief(folds)}; pass jaxnn.data.k_fold(train, 5)"
        )
    if hold_out is not None:
        raise ConfigError(f"{WHO}: each fold has a hold-out of its own; got hold_out and folds; leave one of them out")
    every = {"fold": range(len(folds.train))}
    return {**grid, **every} if isinstance(grid, Mapping) and "fold" not in grid else grid


def _check_folds(folds: Folds | None, n: int) -> None:
    """Raise unless these are weights of the examples there are."""
    for name, weights in zip(Folds._fields, folds or (), strict=False):
        if np.ndim(weights) != 2 or np.shape(weights)[1] != n:
            raise ShapeError(
                f"{WHO}: folds have one weight an example; got folds.{name} of shape {np.shape(weights)}, N={n}; make "
                "them of the data that are given"
            )
        for row in np.asarray(weights):
            check_weight(f"{WHO} (folds.{name})", row)


def _initial(objective: Any, params: Any, lanes: list[dict[str, Any]]) -> tuple[list[Params], np.ndarray]:
    """Return the initial parameters of every seed, and the place among them of those of each lane."""
    check_objective(WHO, objective)
    make = params if callable(params) else getattr(getattr(objective, "model", None), "init", None)
    if params is not None and not callable(params):
        if "seed" in lanes[0]:
            raise ConfigError(
                f"{WHO}: with a seed in the grid, params is a function of it; got {type(params).__name__}; pass the "
                "function, or leave seed out"
            )
        make = lambda seed: params  # noqa: E731
    if make is None:
        raise ConfigError(
            f"{WHO}: somebody has to make the initial parameters; got params=None for an objective whose model has no "
            "init; pass parameters, or a function of a seed"
        )
    seeds = sorted({lane.get("seed", 0) for lane in lanes})
    made = [checked_params(WHO, objective, make(seed)) for seed in seeds]
    for other in made[1:]:
        check_same_tree(WHO, "parameters of every seed", other, made[0])
    return made, np.searchsorted(seeds, [lane.get("seed", 0) for lane in lanes])


def _of_first(made: Optimizer, lane: dict[str, Any]) -> Any:
    """Return the optimiser of the first lane, to see whether it works."""
    options = {name: value for name, value in lane.items() if name not in OWN}
    if not made.is_factory:
        return made.make
    return functools.partial(made.make, *made.arguments, **{**dict(made.keywords), **options})
