"""MNIST and Fashion-MNIST from their four IDX files: in a folder of yours, or downloaded once."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxnn._checks import check_choice
from jaxnn._errors import ConfigError, DataFormatError
from jaxnn.data._dataset import Dataset, dataset
from jaxnn.data._files.idx import read_images
from jaxnn.data._remote import cache, sources

STEMS = {"train": "train", "test": "t10k"}


def mnist(folder: Any = None, part: str = "train") -> Dataset:
    """60000 (part="test": 10000) handwritten digits, 28x28 pixels in [0, 1], 10 classes (downloads 12 MB)"""
    return _images("mnist", folder, part)


def fashion_mnist(folder: Any = None, part: str = "train") -> Dataset:
    """60000 (part="test": 10000) pictures of clothes, 28x28 pixels in [0, 1], 10 classes (downloads 31 MB)"""
    return _images("fashion_mnist", folder, part)


def _images(name: str, folder: Any, part: str) -> Dataset:
    """Return one part of a set that comes as images and labels of train and t10k."""
    who, source = f"data.load({name!r})", sources.SOURCES[name]
    check_choice(who, "part", part, STEMS)
    stems = [f"{STEMS[part]}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    folder = folder or os.environ.get(source.variable)
    if folder:
        images_path, labels_path = (_find(name, who, folder, stem) for stem in stems)
    else:
        files = [f"{stem}.gz" for stem in stems]
        images_path, labels_path = (cache.keep(name, who, needed=files) / file for file in files)
    x, labels, image_shape = read_images(images_path, labels_path, who=who)
    if image_shape != (28, 28):
        height, width = image_shape
        raise DataFormatError(
            f"{who}: images are 28x28; got {height}x{width}, in {images_path} at byte 8; get the file again"
        )
    ds = dataset(x, labels, num_classes=10, class_names=source.class_names, name=name)
    return Dataset(ds.batch, replace(ds.schema, image_shape=(28, 28)))


def _find(name: str, who: str, folder: Any, stem: str) -> Path:
    """Return the path of a file in the user's folder, plain or gzipped; raise `ConfigError` where there is none."""
    if not isinstance(folder, str | os.PathLike):
        raise ConfigError(f"{who}: folder is the path of a folder; got folder={folder!r}; pass text or a Path")
    variable = sources.SOURCES[name].variable
    for path in (Path(folder, stem), Path(folder, stem + ".gz")):
        if path.is_file():
            # Both sets name their files alike, and would be taken for each other without a word.
            other = cache.owner(path)
            if other not in (None, name):
                raise ConfigError(
                    f"{who}: the folder holds {name}; got {path}, a file of {other}; load {other!r}, or name the "
                    f"right folder with folder=... or the environment variable {variable}"
                )
            return path
    files = [f"{s}-{kind}-ubyte" for s in STEMS.values() for kind in ("images-idx3", "labels-idx1")]
    raise ConfigError(
        f"{who}: the folder holds {', '.join(files)}, plain or .gz; got no {stem} in folder={folder!r}; pass "
        f"folder=... or set the environment variable {variable} to the right one, or leave both out to download it"
    )
