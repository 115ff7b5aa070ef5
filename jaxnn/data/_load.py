"""Data sets by name: one table of loaders; a new one is a function whose docstring is its description."""

import inspect
from typing import Any

from jaxnn._errors import ConfigError, suggest
from jaxnn.data import _bundled, _generated, _mnist
from jaxnn.data._dataset import Dataset

LOADERS = {
    "digits": _bundled.digits,
    "iris": _bundled.iris,
    "wine": _bundled.wine,
    "breast_cancer": _bundled.breast_cancer,
    "mnist": _mnist.mnist,
    "fashion_mnist": _mnist.fashion_mnist,
    "circle": _generated.circle,
    "xor": _generated.xor,
    "gauss": _generated.gauss,
    "spiral": _generated.spiral,
}


def load(name: str, **options: Any) -> Dataset:
    """Return a data set by name.

    Args:
      name: one of `names()`.
      options: for circle, xor, gauss, spiral: `num_examples=500` (>= 2), `noise=0.1` (in [0, 1]), `seed=0`.
        For mnist and fashion_mnist: `part`, "train" or "test", and `folder` with the four IDX files, plain or .gz, by
        default the one that the environment variable JAXNN_MNIST or JAXNN_FASHION_MNIST names. Without either they
        come from the cache, after a download the first time: see `fetch`. The others take none.

    Raises:
      ConfigError: an unknown name or option, a missing package, a folder without the files or with those of the
        other set.
      DataFormatError: a damaged IDX file in the folder.
      DownloadError: no mirror gave a file whole, or the cache cannot be written; says what to do by hand.

    Example:
      >>> from jaxnn import data
      >>> data.load("spiral", num_examples=300, noise=0.2, seed=1)
      Dataset('spiral', 300 examples, 2 features, 2 classes)

    References:
      Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits (1998).
      H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST: a novel image dataset for benchmarking machine learning
        algorithms (2017).
      D. Smilkov and S. Carter, TensorFlow Playground (2016), for circle, xor, gauss and spiral.
    """
    if not isinstance(name, str) or name not in LOADERS:
        raise ConfigError(f"data.load: name is a known data set; got name={name!r}; {suggest(str(name), LOADERS)}")
    loader = LOADERS[name]
    known = list(inspect.signature(loader).parameters)
    for option, value in options.items():
        if option not in known:
            raise ConfigError(
                f"data.load: {name!r} takes {', '.join(known) or 'no options'}; got {option}={value!r}; "
                + (suggest(option, known) if known else "leave it out")
            )
    return loader(**options)


def names() -> dict[str, str]:
    """Return what `load` knows: the name of each data set and a line about it.

    Example:
      >>> from jaxnn import data
      >>> data.names()["iris"]
      '150 iris flowers, 4 lengths in cm, 3 classes (scikit-learn)'
    """
    return {name: inspect.getdoc(loader) or name for name, loader in LOADERS.items()}
