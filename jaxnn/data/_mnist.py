"""MNIST from its four IDX files, which you have on disk."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxnn._checks import ConfigError, DataFormatError, check_choice
from jaxnn.data._dataset import Dataset, dataset
from jaxnn.data._idx import read_images

WHO = "data.load('mnist')"
FOLDER_VARIABLE = "JAXNN_MNIST"
STEMS = {"train": "train", "test": "t10k"}


def mnist(folder: Any = None, part: str = "train") -> Dataset:
    """60000 (part="test": 10000) handwritten digits, 28x28 pixels in [0, 1], 10 classes (your folder=...)"""
    check_choice(WHO, "part", part, STEMS)
    images_path = _find(folder, f"{STEMS[part]}-images-idx3-ubyte")
    labels_path = _find(folder, f"{STEMS[part]}-labels-idx1-ubyte")
    x, labels, image_shape = read_images(images_path, labels_path, who=WHO)
    if image_shape != (28, 28):
        height, width = image_shape
        raise DataFormatError(
            f"{WHO}: images are 28x28; got {height}x{width}, in {images_path} at byte 8; get the file again"
        )
    ds = dataset(x, labels, num_classes=10, class_names=tuple("0123456789"), name="mnist")
    return Dataset(ds.batch, replace(ds.schema, image_shape=(28, 28)))


def _find(folder: Any, stem: str) -> Path:
    """Return the path of a file, plain or gzipped; raise `ConfigError` where there is none."""
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    for path in [Path(folder, stem), Path(folder, stem + ".gz")] if folder else []:
        if path.is_file():
            return path
    files = [f"{s}-{kind}-ubyte" for s in STEMS.values() for kind in ("images-idx3", "labels-idx1")]
    raise ConfigError(
        f"{WHO}: the folder holds {', '.join(files)}, plain or .gz; got no {stem} in "
        f"folder={folder!r}; pass folder=... or set the environment variable {FOLDER_VARIABLE}"
    )
