"""The settings of the lanes of a sweep, from a product or a list: one dictionary a lane, checked before they run."""

import inspect
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxnn._aggregates import Clipped
from jaxnn._checks import check_integer, check_number
from jaxnn._errors import ConfigError, brief, suggest
from jaxnn._optimizer import Optimizer

SEEDS = ("seed", "order")  # of the initial parameters, and of the data order
OWN = ("learning_rate", *SEEDS, "l2", "max_norm", "fold")  # what is no option of the optimiser
_MOST = 2**20


def lanes_of(who: str, grid: Any) -> list[dict[str, Any]]:
    """Return the settings of every lane: the product of a mapping of values, the last name fastest, or a list as it is.

    Raises:
      ConfigError: no grid, a name without values, lanes that do not all have the same names, too many lanes.
    """
    if isinstance(grid, Mapping):
        columns = {name: _values(who, name, given) for name, given in grid.items()}
        count = math.prod(map(len, columns.values()))
        if count > _MOST:
            raise ConfigError(f"{who}: a sweep has at most {_MOST:,} runs; got {count:,}; leave some values out")
        lanes = [dict(zip(columns, row, strict=True)) for row in itertools.product(*columns.values())]
    elif isinstance(grid, Sequence) and not isinstance(grid, str) and all(isinstance(lane, Mapping) for lane in grid):
        lanes = [dict(lane) for lane in grid]
        for i, lane in enumerate(lanes):
            if set(lane) != set(lanes[0]):
                raise ConfigError(
                    f"{who}: all runs of a list have the same settings; got {sorted(lane)} for run {i} and "
                    f"{sorted(lanes[0])} for run 0; give each a value"
                )
        lanes = [{name: _plain(lane[name]) for name in lanes[0]} for lane in lanes]
    else:
        raise ConfigError(
            f"{who}: grid is a dictionary of values, or a list of dictionaries; got grid={brief(grid)}; pass "
            "{'learning_rate': [0.01, 0.1], 'seed': range(8)}, say"
        )
    if not lanes or not lanes[0]:
        raise ConfigError(f"{who}: a grid has a setting, and values for it; got grid={brief(grid)}; add one")
    return lanes


def _values(who: str, name: str, given: Any) -> list[Any]:
    """Return the values of one setting; a single number is one value."""
    if isinstance(given, str | Mapping):
        raise ConfigError(f"{who}: the values of a setting are numbers; got {name}={brief(given)}; pass a list of them")
    is_one = np.ndim(given) == 0 and (isinstance(given, np.ndarray | jax.Array) or not isinstance(given, Collection))
    values = [given] if is_one else list(given)
    if not values:
        raise ConfigError(f"{who}: a setting has values; got {name}={brief(given)}; give it one or more")
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """Return a number of NumPy or JAX as one of Python."""
    is_number = isinstance(value, np.generic | np.ndarray | jax.Array) and np.ndim(value) == 0
    return value.item() if is_number else value


def check_lanes(
    who: str, lanes: list[dict[str, Any]], optimizer: Optimizer, objective: Any, aggregate: Any, num_folds: int
) -> None:
    """Raise `ConfigError` unless every setting is one that a run has, and every value one that it can have."""
    for name in lanes[0]:
        _check_name(who, name, optimizer, objective, aggregate, num_folds)
        for lane in lanes:
            value = lane[name]
            if name in SEEDS:
                check_integer(who, name, value, at_least=0, at_most=2**32 - 1)
            elif name == "fold":
                check_integer(who, name, value, at_least=0, at_most=num_folds - 1)
            elif name in OWN:
                if not (name == "max_norm" and value == math.inf):
                    check_number(who, name, value)
            elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"{who}: {name} is a finite number; got {name}={brief(value)}; pass such a number")
    if optimizer.is_factory and "learning_rate" not in lanes[0]:
        raise ConfigError(
            f"{who}: a factory needs a rate; got a grid of {', '.join(lanes[0])} with optimizer={optimizer.name}; add "
            "learning_rate to the grid"
        )


def _check_name(who: str, name: Any, optimizer: Optimizer, objective: Any, aggregate: Any, num_folds: int) -> None:
    """Raise `ConfigError` where a setting means nothing to these runs."""

    def refuse(rule: str, advice: str) -> None:
        raise ConfigError(f"{who}: {rule}; got a grid with {name!r}; {advice}")

    if name == "learning_rate" and not optimizer.is_factory:
        refuse("a rate is data where a factory is given", "pass the factory, as optimizer=optax.sgd")
    if name == "l2" and not hasattr(objective, "l2"):
        refuse("l2 is that of the objective", "leave it out, or use jaxnn.LogLikelihood")
    if name == "max_norm" and not isinstance(aggregate, Clipped):
        refuse("max_norm is that of clipping", "pass aggregate=jaxnn.clipped(1.0)")
    if name == "fold" and not num_folds:
        refuse("a fold is one of several", "pass folds=jaxnn.data.k_fold(train, 5)")
    if name in OWN:
        return
    options = _options(optimizer)
    if name in dict(optimizer.keywords):
        refuse("an option is given once", "take it out of the partial")
    if name not in options:
        known = sorted({*OWN, *options})
        refuse(f"a setting is one of {', '.join(OWN)}, or an option of the optimizer", suggest(name, known))


def _options(optimizer: Optimizer) -> set[str]:
    """Return the options that a factory takes besides the rate, as far as they are numbers."""
    if not optimizer.is_factory:
        return set()
    names = list(inspect.signature(optimizer.make).parameters.values())[len(optimizer.arguments) :]
    fixed = {name for name, _ in optimizer.keywords}
    return {
        p.name
        for p in names
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        and p.name not in fixed | {"learning_rate"}
        and not isinstance(p.default, bool | str)
        and not any(word in p.name for word in ("dtype", "mask"))
    }
