"""`read`: one verb for files of every kind; the suffix picks the reader, the checked door takes what it read."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxnn._checks import ConfigError, NonFiniteError, check_choice, check_integer
from jaxnn.data._csv import read_csv
from jaxnn.data._dataset import Dataset, dataset
from jaxnn.data._idx import read_images
from jaxnn.data._labels import KINDS, as_classes
from jaxnn.data._npz import read_npz
from jaxnn.data._parquet import read_arrow, read_parquet
from jaxnn.data._raw import WHO, Distinct, Raw

KINDS_OF_FILES = {".csv": "csv", ".npz": "npz", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
IDX_NAME = re.compile(r"[.-]idx\d?(-ubyte)?(\.gz)?$")  # train-images-idx3-ubyte.gz, train-images.idx3-ubyte, x.idx
MAX_BYTES = 2**33


def read(
    path: str | os.PathLike[str],
    *,
    label: str | int | os.PathLike[str] | None = None,
    labels: Literal["index", "names", "pm1"] = "index",
    regression: bool = False,
    num_classes: int | None = None,
    class_names: Any = None,
    features: Any = None,
    header: bool | None = None,
    delimiter: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Dataset:
    """Read a file of examples: CSV, NPZ, Parquet, Arrow, Feather, or IDX images.

    Args:
      path: the file. Its suffix says what it is: `.csv`, `.npz`, `.parquet`, `.arrow` and `.feather` (the Arrow IPC
        file format), `-idx3-ubyte`, `.idx3-ubyte` or `.idx`, also with `.gz`.
      label: the column to learn, by name or position (-1 is the last). In an NPZ file the name of an array `[N]`, by
        default "y". For IDX images, the path of the IDX file of their labels.
      labels: "index": whole numbers in [0, K), or words, which become 0..K-1 in sorted order and are kept in
        `schema.class_names`. "names": every distinct value names a class, numbers too (sorted as numbers if all
        are), so labels 1..K or 10, 20, 50 become 0..K-1. "pm1": exactly -1 and +1, stored as 0 and 1.
      regression: the label is a real target, not a class. Never guessed: without it 3.7 is an error.
      num_classes: K >= 2. Without it, labels that are numbers must be 0..K-1 with none left out.
      class_names: K names in the order of the classes. Give `train.schema.class_names` to read a hold-out or test file
        with the classes of the training file.
      features: the feature columns, a list of names or positions; by default all but the label. In an NPZ file the
        name of an array `[N, D]`, by default "x".
      header: of a CSV file. None: the first line names the columns, and one of numbers only is refused. True: it does
        whatever it holds. False: there is no such line, columns are named column_0, column_1, ...
      delimiter: of a CSV file, by default a comma.
      max_bytes: what a file may unpack to, looked up in its headers first; 8 GiB by default.

    Returns:
      A `Dataset` named after the file; its schema keeps the names of features and classes. A column of booleans gives
      0 and 1. A categorical (dictionary) column gives a feature of 0 and 1 for each category it lists, named
      "column=category". Pixels of IDX images are divided by 255, nothing else is scaled.

    Raises:
      ConfigError: no such file, column, array or option; pyarrow is missing (`pip install 'jaxnn[data]'`); options that
        contradict each other or mean nothing for this kind of file.
      DataFormatError: a damaged file, a missing value, text where numbers are; says the line, or row and column.
      LabelError: a label that is no class; says where and which option would make it one.
      NonFiniteError: an infinity, or a number beyond the range of float32.
      ShapeError, DtypeError: arrays of an NPZ file that are not `[N, D]` and `[N]`, or not numbers.

    Notes:
      Every number passes `data.dataset`. Python objects in an NPZ file are never unpickled. CSV is UTF-8, with or
      without a byte-order mark; empty lines are skipped; an empty label is refused, and so are NA, NaN, null and ? as
      words, unless labels="names". A CSV file is read a second time, slowly, to find the line of a fault. Parquet pages
      may expand beyond what their file says, by at most 2 GiB each; read files you do not trust elsewhere.

    Example:
      >>> import pathlib, tempfile
      >>> from jaxnn import data
      >>> folder = tempfile.TemporaryDirectory()
      >>> path = pathlib.Path(folder.name, "flowers.csv")
      >>> _ = path.write_text("length,width,species\\n1.4,0.2,setosa\\n4.7,1.4,versicolor\\n")
      >>> ds = data.read(path, label="species")
      >>> ds, ds.schema.class_names, ds.batch.y.tolist()
      (Dataset('flowers', 2 examples, 2 features, 2 classes), ('setosa', 'versicolor'), [0, 1])
      >>> data.read(path, label="specie")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxnn._checks.ConfigError: data.read: label is a column of ...; got label='specie'; did you mean 'species'?
      >>> folder.cleanup()
    """
    path = _file("path", path)
    kind = "idx" if IDX_NAME.search(path.name) else KINDS_OF_FILES.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{WHO}: files end in {', '.join(KINDS_OF_FILES)} or an IDX name; got path={str(path)!r}; rename it"
        )
    _check_options(kind, labels, regression, num_classes, class_names, features, header, delimiter)
    check_integer(WHO, "max_bytes", max_bytes, at_least=1)

    if kind == "idx":
        if not isinstance(label, str | os.PathLike):
            raise ConfigError(
                f"{WHO}: for IDX images label is the file of their labels; got label={label!r}; pass its path"
            )
        labels_path = _file("label", label)
        x, y, shape = read_images(path, labels_path, max_bytes=max_bytes)
        place = lambda i: f"byte {8 + i} of {labels_path}"  # noqa: E731
        raw = Raw(x, Distinct.of(y), label="labels", where=place, image_shape=shape)
    elif kind == "npz":
        raw = read_npz(
            path, _array_name("features", features, "x"), _array_name("label", label, "y"), regression, max_bytes
        )
    elif kind == "csv":
        raw = read_csv(path, label, features, regression, header, delimiter or ",", max_bytes)
    else:
        raw = (read_parquet if kind == "parquet" else read_arrow)(path, label, features, regression, max_bytes)
    return _through_the_door(raw, path, labels, num_classes, class_names)


def _through_the_door(raw: Raw, path: Path, labels: str, num_classes: Any, class_names: Any) -> Dataset:
    """Return what was read as a `Dataset`; a number that is not finite is named by its place in the file."""
    y, names = raw.y, None
    if isinstance(y, Distinct):
        y, num_classes, names = as_classes(
            y, labels=labels, num_classes=num_classes, class_names=class_names, column=raw.label, where=raw.where
        )
    name = path.name.split(".")[0] if IDX_NAME.search(path.name) else path.stem
    try:
        ds = dataset(raw.x, y, num_classes=num_classes, feature_names=raw.feature_names, class_names=names, name=name)
    except NonFiniteError as error:
        x = np.asarray(raw.x)
        if raw.feature_names is None:
            raise
        bad = np.argwhere(~np.isfinite(x))
        i, column = (
            (int(bad[0, 0]), raw.feature_names[bad[0, 1]]) if len(bad) else (int(np.argmin(np.isfinite(y))), raw.label)
        )
        value = x[tuple(bad[0])] if len(bad) else y[i]
        raise NonFiniteError(
            f"{WHO}: numbers are finite as {x.dtype}; got {value} in column {column!r} at {raw.where(i)}, in {path}; "
            "drop the row or fill the value first"
        ) from error
    return Dataset(ds.batch, replace(ds.schema, image_shape=raw.image_shape))


def _check_options(
    kind: str,
    labels: Any,
    regression: Any,
    num_classes: Any,
    class_names: Any,
    features: Any,
    header: Any,
    delimiter: Any,
) -> None:
    """Raise `ConfigError` for options that mean nothing, here or together."""
    check_choice(WHO, "labels", labels, KINDS)
    for option, value, legal in (("regression", regression, (True, False)), ("header", header, (None, True, False))):
        if not any(value is one for one in legal):
            raise ConfigError(
                f"{WHO}: {option} is one of {', '.join(map(str, legal))}; got {option}={value!r}; pass one"
            )
    if delimiter is not None and not (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'):
        raise ConfigError(f"{WHO}: delimiter is one character; got delimiter={delimiter!r}; pass ';' or '\\t'")
    foreign = {"header": header, "delimiter": delimiter} if kind != "csv" else {}
    foreign |= {"features": features} if kind == "idx" else {}
    foreign |= {"regression": regression or None} if kind == "idx" else {}
    for option, value in foreign.items():
        if value is not None:
            raise ConfigError(f"{WHO}: {kind} files take no {option}; got {option}={value!r}; leave it out")
    for option, value in (("num_classes", num_classes), ("class_names", class_names), ("labels", labels)):
        if regression and value not in (None, "index"):
            raise ConfigError(
                f"{WHO}: regression=True has no classes; got {option}={value!r}; leave one of the two out"
            )


def _file(option: str, path: Any) -> Path:
    """Return the path of a file that can be opened."""
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"{WHO}: {option} is the path of a file; got {option}={path!r}; pass text or a Path")
    found = Path(path)
    try:
        with found.open("rb"):
            return found
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{WHO}: {option} is a file that can be read; got {option}={str(path)!r}: {reason}; "
            f"the current folder is {Path.cwd()}"
        ) from error


def _array_name(option: str, name: Any, default: str) -> str:
    """Return the name of an array in an NPZ file."""
    if not isinstance(name, str | None):
        raise ConfigError(f"{WHO}: in an NPZ file {option} is the name of an array; got {option}={name!r}; pass text")
    return default if name is None else name
