"""Data: a checked `Dataset` from arrays, files or generators; split it, standardise it, weight its classes.

Example:
  >>> from jaxnn import data
  >>> ds = data.load("circle", num_examples=200, noise=0.0)
  >>> train, hold_out, test = data.split(ds, (0.7, 0.15, 0.15), seed=0)
  >>> train, hold_out, test = data.standardise(train, hold_out, test)
  >>> train
  Dataset('circle', 140 examples, 2 features, 2 classes, standardised)

`mnist` and `fashion_mnist` are downloaded the first time and kept; `fetch` does it ahead of time. Files come in through
`read`, after a look at what is in them with `describe`; your own arrays through `dataset`, which looks at every number
once:

  >>> data.dataset([[0.0, 1.0], [2.0, 3.0]], [0, 1], num_classes=2)
  Dataset('data', 2 examples, 2 features, 2 classes)
"""

from jaxnn.data._dataset import Dataset, Schema, dataset
from jaxnn.data._describe.describe import describe
from jaxnn.data._describe.description import Description
from jaxnn.data._folds import Folds, bootstrap, k_fold
from jaxnn.data._load import load, names
from jaxnn.data._read import Inputs, read, read_inputs
from jaxnn.data._remote.fetch import fetch
from jaxnn.data._scale import class_weights, standardise
from jaxnn.data._split import split, take

__all__ = [
    "Dataset",
    "Description",
    "Folds",
    "Inputs",
    "Schema",
    "bootstrap",
    "class_weights",
    "dataset",
    "describe",
    "fetch",
    "k_fold",
    "load",
    "names",
    "read",
    "read_inputs",
    "split",
    "standardise",
    "take",
]
