"""The small classical data sets that come with scikit-learn: nothing is downloaded."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn._errors import ConfigError
from jaxnn.data._dataset import Dataset, dataset


def digits() -> Dataset:
    """1797 handwritten digits, 8x8 pixels in [0, 1], 10 classes (scikit-learn)"""
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    table = _digits_table()
    ds = dataset(
        table[:, :-1] / 16.0,
        table[:, -1],
        num_classes=10,
        feature_names=names,
        class_names=[str(k) for k in range(10)],
        name="digits",
    )
    return Dataset(ds.batch, replace(ds.schema, image_shape=(8, 8)))


def iris() -> Dataset:
    """150 iris flowers, 4 lengths in cm, 3 classes (scikit-learn)"""
    bunch = _bundled("iris")
    return _named("iris", bunch, bunch.data)


def wine() -> Dataset:
    """178 wines, 13 chemical measurements, 3 classes (scikit-learn)"""
    bunch = _bundled("wine")
    return _named("wine", bunch, bunch.data)


def breast_cancer() -> Dataset:
    """569 tumours, 30 measurements of cell nuclei, 2 classes (scikit-learn)"""
    bunch = _bundled("breast_cancer")
    return _named("breast_cancer", bunch, bunch.data)


def _digits_table() -> np.ndarray:
    """Return 64 pixels and the label a row, from scikit-learn's file where it lies: importing it takes a second."""
    spec = find_spec("sklearn")
    folders = (spec.submodule_search_locations if spec else None) or []
    files = [file for folder in folders if (file := Path(folder, "datasets", "data", "digits.csv.gz")).exists()]
    if files:
        return np.loadtxt(files[0], delimiter=",")
    bunch = _bundled("digits")
    return np.column_stack([bunch.data, bunch.target])


def _bundled(name: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ConfigError(
            f"data.load: {name!r} comes with scikit-learn; got no module sklearn; pip install 'jaxnn[data]'"
        ) from error
    return getattr(datasets, f"load_{name}")()


def _named(name: str, bunch: Any, x: Any) -> Dataset:
    return dataset(
        x,
        bunch.target,
        num_classes=len(bunch.target_names),
        feature_names=bunch.feature_names,
        class_names=bunch.target_names,
        name=name,
    )
