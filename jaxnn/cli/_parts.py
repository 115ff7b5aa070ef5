"""The three parts of the data an option names, and what their labels call for: likelihood, warnings, class weights."""

import warnings
from typing import Any

import numpy as np

from jaxnn import data
from jaxnn._errors import ConfigError
from jaxnn._likelihoods import bernoulli, categorical, gaussian
from jaxnn.cli._learn_config import LearnConfig
from jaxnn.cli._source import read_file, read_other
from jaxnn.data import Dataset

FRACTIONS = (0.7, 0.15, 0.15)
FAR = 10.0  # times the unit that targets are expected on
MANY_CLASSES = 20  # from here on it is asked whether each has some examples
REST = 0.15  # of the data, for the part that no file is given for
OWN_TEST = ("mnist", "fashion_mnist")  # sets with a test part of their own
OWN_TEST_HOLD_OUT = 1 / 12  # 5,000 of 60,000, as usual


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
