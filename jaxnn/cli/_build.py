"""From options to what `fit` and `sweep` take: data parts, objective, optimiser, plan, seeds."""

import warnings
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
from jaxnn._likelihoods import bernoulli, categorical, gaussian
from jaxnn._models import Mlp
from jaxnn._objectives import LogLikelihood
from jaxnn._optimizer import OPTIMIZERS
from jaxnn._plans import FullBatch, MiniBatch, Stochastic
from jaxnn._progress import Progress
from jaxnn._types import Params
from jaxnn.cli._learn_config import LearnConfig, TrainConfig
from jaxnn.cli._source import check_no_file_options, is_name, read_file, read_other
from jaxnn.data import Dataset

DEFAULTS = {"epochs": 200, "patience": 20, "save_every": 10.0}
FRACTIONS = (0.7, 0.15, 0.15)
FAR = 10.0  # times the unit that targets are expected on
MANY_CLASSES = 20  # from here on it is asked whether each has some examples
REST = 0.15  # of the data, for the part that no file is given for
OWN_TEST = ("mnist", "fashion_mnist")  # sets with a test part of their own
OWN_TEST_HOLD_OUT = 1 / 12  # 5,000 of 60,000, as usual


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


def load_parts(config: LearnConfig, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """Return training, hold-out and test part, stratified, standardised if the options say so."""
    if config.folder is not None and config.data not in OWN_TEST:
        raise ConfigError(
            f"{config.who}: only {' and '.join(OWN_TEST)} are read from a folder; got --folder {config.folder} with "
            f"data={config.data!r}; leave it out"
        )
    if config.data in OWN_TEST:
        test = data.load(config.data, part="test", folder=config.folder)
        train = data.load(config.data, part="train", folder=config.folder)
        parts = (*data.split(train, (1 - OWN_TEST_HOLD_OUT, OWN_TEST_HOLD_OUT), seed=seed), test)
    elif config.data in data.names():
        parts = data.split(data.load(config.data), FRACTIONS, seed=seed)
    else:
        parts = parts_of_files(config, seed)
    is_image = parts[0].schema.image_shape is not None
    if config.standardise == "yes" or (config.standardise == "auto" and not is_image):
        parts = data.standardise(*parts)
    return parts[0], parts[1], parts[2]


def parts_of_files(config: LearnConfig, seed: int) -> tuple[Dataset, Dataset, Dataset]:
    """Return the three parts: each from a file of its own where there is one, else split off from the first."""
    given = read_file(config)
    others = {
        name: read_other(config, path, given)
        for name, path in (("hold_out", config.hold_out), ("test", config.test))
        if path is not None
    }
    if not others:
        train, hold_out, test = data.split(given, FRACTIONS, seed=seed)
        return train, hold_out, test
    if len(others) == 2:
        return given, others["hold_out"], others["test"]
    train, rest = data.split(given, (1 - REST, REST), seed=seed)
    return train, others.get("hold_out", rest), others.get("test", rest)


def infer_likelihood(ds: Dataset) -> tuple[Any, int]:
    """Return the likelihood the targets call for, and how many outputs it reads."""
    num_classes = ds.schema.num_classes
    if num_classes is None:
        return gaussian, ds.batch.y.shape[1] if ds.batch.y.ndim == 2 else 1
    return (bernoulli, 1) if num_classes == 2 else (categorical, num_classes)


def note_many_classes(who: str, train: Dataset) -> None:
    """Warn where there are about as many classes as examples: the label may be an id."""
    num_classes = train.schema.num_classes or 0
    if num_classes > MANY_CLASSES and 3 * num_classes > len(train):
        warnings.warn(
            f"{who}: a class has examples to learn it from; got {num_classes} classes in {len(train)} training "
            "examples; is the label the right column?",
            UserWarning,
            stacklevel=2,
        )


def note_far_targets(who: str, train: Dataset) -> None:
    """Warn where real targets are far from the 0 the model starts at, or their spread from its unit variance."""
    y = np.asarray(train.batch.y, np.float64)
    mean, spread = np.abs(y.mean(axis=0)).max(), y.std(axis=0).max()
    if max(mean, spread) > FAR or (spread < 1 / FAR and spread > 0):
        warnings.warn(
            f"{who}: real targets are near 0 with a spread near 1, as the model starts there; got mean "
            f"{y.mean(axis=0).ravel()[0]:.4g}, deviation {y.std(axis=0).ravel()[0]:.4g}; scale the column first, or "
            "learning takes long",
            UserWarning,
            stacklevel=2,
        )


def per_class(train: Dataset, weights: Any) -> tuple[float, ...] | None:
    """Return one weight a class, worked out on the training part only; None for equal ones."""
    if weights == "none":
        return None
    weighted = data.class_weights(train, weights).batch
    y, weight = np.asarray(weighted.y), np.asarray(weighted.weight)
    return tuple(float(weight[y == k].max(initial=0.0)) for k in range(train.schema.num_classes or 0))
