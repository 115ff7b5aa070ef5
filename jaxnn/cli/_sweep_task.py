"""From the options of `jaxnn sweep` to what `jaxnn.sweep` takes: data, folds, and the grid."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxnn import data
from jaxnn._checks import check_integer, check_number
from jaxnn._errors import ConfigError
from jaxnn._optimizer import OPTIMIZERS
from jaxnn._sweep._progress import SweepProgress
from jaxnn._sweep._runs import Runs
from jaxnn._sweep._sweep import sweep
from jaxnn._types import Batch, Params
from jaxnn.cli._build import Task, checked, loaded, make_aggregate, make_plan, make_seeds
from jaxnn.cli._learn_config import SweepConfig
from jaxnn.cli._rates import rates_of
from jaxnn.data import Dataset, Folds

WHO = "sweep"


@dataclass(frozen=True)
class SweepTask(Task):
    """What a sweep works on.

    Attributes:
      grid: settings and their values.
      folds: of training part and hold-out together; None: runs are judged by the hold-out.
    """

    config: SweepConfig
    grid: dict[str, list[Any]]
    folds: Folds | None

    def run(self, progress: Callable[[SweepProgress], None]) -> Runs:
        """Return what all runs reached."""
        config = self.config
        train, hold_out = self.weighted
        parts = (train, hold_out) if self.folds is None else (joined(train, hold_out),)
        return sweep(
            self.objective,
            OPTIMIZERS[config.optimizer][0],
            *parts,
            grid=self.grid,
            params=self.initial_params,
            folds=self.folds,
            plan=make_plan(config),
            max_epochs=self.max_epochs,
            patience=config.patience,
            monitor=config.monitor,
            aggregate=make_aggregate(config),
            progress=progress,
        )

    def initial_params(self, seed: int) -> Params:
        """Return the parameters that `jaxnn train` starts from with this seed."""
        return self.objective.model.init(make_seeds(seed).init)


def build(config: SweepConfig) -> SweepTask:
    """Check the options, load and split the data, cut the folds; nothing is compiled yet."""
    check_integer(WHO, "seeds", config.seeds, at_least=1)
    check_integer(WHO, "orders", config.orders, at_least=1)
    for l2 in config.l2s:
        check_number(WHO, "l2s", l2)
    if config.folds is not None:
        check_integer(WHO, "folds", config.folds, at_least=2)
        if config.hold_out is not None:
            raise ConfigError(
                f"{WHO}: each fold has a hold-out of its own; got --folds {config.folds} and --hold-out "
                f"{config.hold_out}; leave one of them out"
            )
    rates_of(config.learning_rates, 1.0)  # a mistyped one is found before the data are read
    config = checked(config)
    train, hold_out, test, objective, seeds, weights = loaded(config)
    grid: dict[str, list[Any]] = {
        "learning_rate": rates_of(config.learning_rates, OPTIMIZERS[config.optimizer][1]),
        "seed": [config.seed + k for k in range(config.seeds)],
        "order": [(seeds.order + k) % 2**32 for k in range(config.orders)],
    }
    if config.l2s:
        grid["l2"] = list(dict.fromkeys(config.l2s))
    folds = None
    if config.folds is not None:
        task = Task(config, train, hold_out, test, objective, seeds, weights)
        folds = data.k_fold(joined(*task.weighted), config.folds, seed=seeds.split)
    return SweepTask(config, train, hold_out, test, objective, seeds, weights, grid, folds)


def joined(one: Dataset, other: Dataset) -> Dataset:
    """Return the examples of two parts of one data set, one after the other."""
    leaves = (
        None if mine is None else np.concatenate([np.asarray(mine), np.asarray(yours)])
        for mine, yours in zip(one.batch, other.batch, strict=True)
    )
    return replace(one, batch=Batch(*leaves))
