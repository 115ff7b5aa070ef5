"""The verb `sweep`: what it takes, and everything that it refuses before anything is compiled."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._ascent import MOST_EPOCHS, checked_run
from jaxnn._checks import as_numbers, check_integer, check_same_tree, check_weight
from jaxnn._door import check_objective, checked_params
from jaxnn._ending import warn_of_one_class
from jaxnn._errors import ConfigError, ShapeError, brief
from jaxnn._optimizer import Optimizer, as_optimizer
from jaxnn._plans import MiniBatch
from jaxnn._program import Run
from jaxnn._progress import drawer
from jaxnn._progress import print_line as print_fit_line
from jaxnn._state import checked_start
from jaxnn._sweep._driver import Driver, Stops
from jaxnn._sweep._grid import OWN, check_lanes, lanes_of
from jaxnn._sweep._program import with_options
from jaxnn._sweep._progress import SweepProgress, print_line
from jaxnn._sweep._runs import Runs
from jaxnn._sweep._starts import Starts
from jaxnn._types import Batch, Params, Plan, num_examples
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
    A lane that has ended or diverged stays as it is and changes nothing in the others; when half of many have ended,
    and enough is left to do, a program of half the size goes on. The first Ctrl-C ends it within about a second with
    what was reached; it cannot go on from there.

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
        and any option of the factory that is a number, as `b1` or `momentum` (in float32 it is rounded as data, where
        a Python number would be computed with in double: 1 - b2 of Adam differs in its last digits). No value compiles
        anything anew.
      params: how a run begins: a function of its seed that returns parameters, by default `objective.model.init`; or
        parameters, the same for all.
      folds: `data.k_fold(train, 5)` or `data.bootstrap(train, 100)`, in place of a hold-out: a run learns from the
        examples with a weight in `folds.train`, in place of the weights of `train`, and is judged by those in
        `folds.hold_out`. Unless the grid says which, every combination is run on each of them.
      memory: bytes for the runs that are in one program; more of them run in groups, one after the other. On a CPU a
        group is also no larger than the cache holds.
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
    folds = _checked_folds(folds, hold_out)
    lanes = lanes_of(WHO, _with_folds(grid, folds))
    check_lanes(WHO, lanes, made, objective, aggregate, 0 if folds is None else len(folds.train))
    first, places = _initial(objective, params, lanes)
    _, one, _, rate = checked_start(
        WHO, objective, _of_first(made, lanes[0]), first[0], 0, lanes[0].get("learning_rate")
    )
    judged = train if folds is not None else hold_out
    patience = None if judged is None else patience
    run = Run(objective, optimizer, train, judged, plan, monitor, aggregate)
    run = checked_run(WHO, run, one, patience, min_delta)
    if folds is not None:
        _check_fits(folds, run.train)
    _check_options(run, lanes[0], one, rate)
    warn_of_one_class(run, one)
    starts = Starts(lanes, jax.tree.map(lambda *leaves: np.stack(leaves), *first), places, rate.dtype)
    return Driver(run, starts, folds, Stops(max_epochs, patience, min_delta), draw, start).run_all(memory)


def _drawer(progress: Any) -> Any:
    draw = drawer(WHO, progress)
    return print_line if draw is print_fit_line else draw


def _with_folds(grid: Any, folds: Folds | None) -> Any:
    """Return the grid with every fold in it, where there are folds and it does not choose among them itself."""
    if folds is None:
        return grid
    every = range(len(folds.train))
    if isinstance(grid, Mapping):
        return grid if "fold" in grid else {**grid, "fold": every}
    if isinstance(grid, list | tuple) and all(isinstance(lane, Mapping) and "fold" not in lane for lane in grid):
        return [{**lane, "fold": fold} for lane in grid for fold in every]
    return grid


def _checked_folds(folds: Any, hold_out: Any) -> Folds | None:
    """Return folds as arrays; raise where they are none, or there is a hold-out besides."""
    if folds is None:
        return None
    if not isinstance(folds, Folds):
        raise ConfigError(
            f"{WHO}: folds are weights of the examples; got folds={brief(folds)}; pass jaxnn.data.k_fold(train, 5)"
        )
    if hold_out is not None:
        raise ConfigError(f"{WHO}: each fold has a hold-out of its own; got hold_out and folds; leave one of them out")
    made = Folds(*(as_numbers(WHO, f"folds.{name}", rows) for name, rows in zip(Folds._fields, folds, strict=True)))
    if made.train.ndim != 2 or made.train.shape != made.hold_out.shape:
        raise ShapeError(
            f"{WHO}: folds have a row of weights each, to learn from and to judge; got shapes {made.train.shape} and "
            f"{made.hold_out.shape}; pass what jaxnn.data.k_fold returns"
        )
    return Folds(*(rows.astype(jax.dtypes.canonicalize_dtype(float)) for rows in made))


def _check_fits(folds: Folds, train: Batch) -> None:
    """Raise unless these are weights of the examples there are."""
    n = num_examples(train)
    if folds.train.shape[1] != n:
        raise ShapeError(
            f"{WHO}: folds have one weight an example; got folds of shape {folds.train.shape}, N={n}; make them of the "
            "data that are given"
        )
    absent = np.zeros(n, bool) if train.weight is None else np.asarray(train.weight) == 0
    for name, rows in zip(Folds._fields, folds, strict=True):
        for row in rows:
            check_weight(f"{WHO} (folds.{name})", row)
        if rows[:, absent].any():  # what stands in its place is another example
            raise ConfigError(
                f"{WHO}: an example of weight 0 is absent from every fold; got folds.{name} with a weight there; make "
                "them of the data that are given"
            )


def _initial(objective: Any, params: Any, lanes: list[dict[str, Any]]) -> tuple[list[Params], np.ndarray]:
    """Return the initial parameters of every seed, and the place among them of those of each lane."""
    check_objective(WHO, objective)
    leaves = jax.tree.leaves(params)
    is_function = callable(params) and not (leaves and all(hasattr(leaf, "dtype") for leaf in leaves))
    make = params if is_function else getattr(getattr(objective, "model", None), "init", None)
    if params is not None and not is_function:
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


def _check_options(run: Run, lane: dict[str, Any], params: Params, rate: Any) -> None:
    """Raise `ConfigError` where the optimiser cannot take an option as data; only shapes are computed."""
    options = {name: jnp.asarray(value, rate.dtype) for name, value in lane.items() if name not in OWN}
    if not options:
        return

    def step(options: Any) -> Any:
        made = with_options(run.optimizer, options)
        opt_state = made.traced_init(params, rate)
        return made.update(params, opt_state, params, rate, jnp.zeros(()), lambda p: jnp.zeros(()))

    try:
        jax.eval_shape(step, options)
    except Exception as error:  # whatever optax raises inside, the user must learn which options cannot be swept
        raise ConfigError(
            f"{WHO}: an option that is swept is data of the program; got {', '.join(options)} of "
            f"{run.optimizer.name}, which needs it as a Python number; fix it with functools.partial, and make one "
            "sweep for each value"
        ) from error
