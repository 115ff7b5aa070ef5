"""From options to what `fit` and `sweep` take: objective, optimiser, plan, seeds, and the parts of the data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from jaxnn import data
from jaxnn._activations import ACTIVATIONS
from jaxnn._aggregates import clipped
from jaxnn._checks import check_choice, check_integer, check_number
from jaxnn._errors import ConfigError
from jaxnn._fit import FitResult, fit
from jaxnn._likelihoods import gaussian
from jaxnn._models import Mlp
from jaxnn._objectives import LogLikelihood
from jaxnn._optimizer import OPTIMIZERS
from jaxnn._plans import FullBatch, MiniBatch, Stochastic
from jaxnn._progress import Progress
from jaxnn._types import Params
from jaxnn.cli._learn_config import LearnConfig, TrainConfig
from jaxnn.cli._parts import infer_likelihood, load_parts, note_far_targets, note_many_classes, per_class
from jaxnn.cli._source import check_no_file_options, is_name
from jaxnn.data import Dataset

DEFAULTS = {"epochs": 200, "patience": 20, "save_every": 10.0}


class Seeds(NamedTuple):
    """One seed for each use of chance, so that no two share a random stream."""

    split: int
    init: int
    order: int


@dataclass(frozen=True)
class Task:
    """What runs work on. In its three parts every example counts once; `class_weights` act while learning.

    Attributes:
      config: the options, those left out filled in.
    """

    config: Any
    train: Dataset
    hold_out: Dataset
    test: Dataset
    objective: LogLikelihood
    seeds: Seeds
    class_weights: tuple[float, ...] | None

    @property
    def parts(self) -> dict[str, Dataset]:
        """The three parts by name."""
        return {"train": self.train, "hold_out": self.hold_out, "test": self.test}

    @property
    def max_epochs(self) -> int:
        """The most epochs of the run."""
        return DEFAULTS["epochs"] if self.config.epochs is None else self.config.epochs

    @property
    def likelihood(self) -> str:
        """The name of the likelihood."""
        return type(self.objective.likelihood).__name__.lower()

    @property
    def weighted(self) -> tuple[Dataset, Dataset]:
        """Training part and hold-out with the weights of their classes, as runs read them."""
        parts = self.train, self.hold_out
        if self.class_weights is None:
            return parts
        train, hold_out = (data.class_weights(part, self.class_weights) for part in parts)
        return train, hold_out


@dataclass(frozen=True)
class Problem(Task):
    """What one run works on."""

    config: TrainConfig

    def initial_params(self) -> Params:
        """Return the parameters the run starts from."""
        return self.objective.model.init(self.seeds.init)

    def learn(
        self, params: Params, progress: Callable[[Progress], None] | bool = False, checkpoint: Any = None
    ) -> FitResult:
        """Return the result of `fit` from these parameters with the options of the run."""
        config = self.config
        return fit(
            self.objective,
            OPTIMIZERS[config.optimizer][0],
            params,
            *self.weighted,
            plan=make_plan(config),
            max_epochs=self.max_epochs,
            patience=config.patience,
            monitor=config.monitor,
            key=self.seeds.order,
            learning_rate=config.learning_rate,
            aggregate=make_aggregate(config),
            watch_gradients=config.watch_gradients,
            progress=progress,
            checkpoint=checkpoint,
        )


def build(config: TrainConfig) -> Problem:
    """Check the options, load and split the data, infer the likelihood; nothing is compiled yet."""
    config = checked(config)
    check_number(config.who, "save_every", config.save_every)
    if config.learning_rate is None:
        config = replace(config, learning_rate=OPTIMIZERS[config.optimizer][1])
    check_number(config.who, "learning_rate", config.learning_rate)
    return Problem(config, *loaded(config))


def checked(config: Any) -> Any:
    """Return the options with what was left out filled in; raise `ConfigError` for one that means nothing."""
    who = config.who
    if is_name(who, config.data):
        check_no_file_options(config)
    check_choice(who, "activation", config.activation, ACTIVATIONS)
    check_choice(who, "optimizer", config.optimizer, OPTIMIZERS)
    config = replace(config, **{name: value for name, value in DEFAULTS.items() if getattr(config, name, 0) is None})
    check_integer(who, "epochs", config.epochs, at_least=0)
    check_integer(who, "patience", config.patience, at_least=1)
    check_integer(who, "seed", config.seed, at_least=0)
    make_plan(config)
    make_aggregate(config)
    return config


def loaded(config: LearnConfig) -> tuple[Dataset, Dataset, Dataset, LogLikelihood, Seeds, tuple[float, ...] | None]:
    """Return what a task has besides its options: parts, objective, seeds, class weights."""
    seeds = make_seeds(config.seed)
    train, hold_out, test = load_parts(config, seeds.split)
    likelihood, num_outputs = infer_likelihood(train)
    if likelihood is gaussian:
        note_far_targets(config.who, train)
    note_many_classes(config.who, train)
    model = Mlp((train.num_features, *config.hidden, num_outputs), ACTIVATIONS[config.activation])
    objective = LogLikelihood(model, likelihood, l2=config.l2)
    return train, hold_out, test, objective, seeds, per_class(train, config.class_weights)


def make_seeds(seed: int) -> Seeds:
    """Return independent seeds for the split, the initial parameters and the data order."""
    return Seeds(*np.random.SeedSequence(seed).generate_state(3).tolist())


def make_plan(config: LearnConfig) -> Any:
    """Return the plan the options name."""
    if config.plan == "mini-batch":
        return MiniBatch(config.batch_size, replacement=config.replacement)
    if config.plan == "stochastic":
        return Stochastic(replacement=config.replacement)
    if config.replacement:
        raise ConfigError(
            f"{config.who}: a full batch reads every example once; got --plan full --replacement; leave one of them out"
        )
    return FullBatch()


def make_aggregate(config: LearnConfig) -> Any:
    """Return the aggregate the options name."""
    if config.aggregate != "clipped":
        if config.max_norm is not None:
            raise ConfigError(
                f"{config.who}: only clipped gradients have a largest norm; got --max-norm {config.max_norm:g} with "
                f"--aggregate {config.aggregate}; add --aggregate clipped, or leave it out"
            )
        return config.aggregate
    if config.max_norm is None:
        raise ConfigError(
            f"{config.who}: clipped gradients have a largest norm; got --aggregate clipped without --max-norm; add "
            "--max-norm 1, say (--watch-gradients shows which norms there are)"
        )
    check_number(config.who, "max_norm", config.max_norm)
    return clipped(config.max_norm)
