"""The small classical data sets that come with scikit-learn: nothing is downloaded."""

from dataclasses import replace
from typing import Any

from jaxnn._checks import ConfigError
from jaxnn.data._dataset import Dataset, dataset


def digits() -> Dataset:
    """1797 handwritten digits, 8x8 pixels in [0, 1], 10 classes (scikit-learn)"""
    bunch = _bundled("digits")
    ds = _named("digits", bunch, bunch.data / 16.0)
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
