"""From a file or a table to what it holds: which kind it is, which options fit that kind, which reader reads it."""

import os
import re
from pathlib import Path
from typing import Any

from jaxnn._checks import check_choice, check_integer
from jaxnn._errors import ConfigError, brief
from jaxnn.data._files.arrow import as_table
from jaxnn.data._files.csv import read_csv
from jaxnn.data._files.idx import read_images, read_pixels
from jaxnn.data._files.labels import KINDS
from jaxnn.data._files.npz import read_npz
from jaxnn.data._files.parquet import MEMORY, read_arrow, read_parquet, read_table
from jaxnn.data._files.raw import WHO, Distinct, Raw, Wanted

KINDS_OF_FILES = {".csv": "csv", ".npz": "npz", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow"}
IDX_NAME = re.compile(r"[.-]idx\d?(-ubyte)?(\.gz)?$")  # train-images-idx3-ubyte.gz, train-images.idx3-ubyte, x.idx
MAX_BYTES = 2**33


def raw_of(
    source: Any,
    wanted: Wanted,
    labels: Any,
    num_classes: Any,
    class_names: Any,
    header: Any,
    delimiter: Any,
) -> tuple[Raw, str, Path | str]:
    """Return what the source holds, its name, and what messages call it."""
    table = as_table(source)
    path = MEMORY if table is not None else file_at("source", source)
    kind = "table" if table is not None else kind_of(Path(path))
    check_options(kind, labels, wanted, num_classes, class_names, header, delimiter)
    if table is not None:
        return read_table(table, wanted), "table", path
    path = Path(path)
    if kind == "csv":
        raw = read_csv(path, wanted, header, delimiter or ",")
    elif kind == "npz":
        raw = read_npz(path, wanted)
    elif kind == "idx":
        raw = _images(path, wanted)
    else:
        raw = (read_parquet if kind == "parquet" else read_arrow)(path, wanted)
    return raw, path.name.split(".")[0] if kind == "idx" else path.stem, path


def kind_of(path: Path) -> str:
    """Return the kind of a file by its name."""
    kind = "idx" if IDX_NAME.search(path.name) else KINDS_OF_FILES.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"{WHO}: files end in {', '.join(KINDS_OF_FILES)} or an IDX name; got source={str(path)!r}; rename it"
        )
    return kind


def _images(path: Path, wanted: Wanted) -> Raw:
    """Return the pixels of an IDX file and, where labels are asked for, those of the file that the label names."""
    if not wanted.labelled:
        x, shape = read_pixels(path, max_bytes=wanted.max_bytes)
        return Raw(x, None, "", lambda i: f"image {i} (from 0)", image_shape=shape)
    if not isinstance(wanted.label, str | os.PathLike):
        raise ConfigError(
            f"{WHO}: for IDX images label is the file of their labels; got label={wanted.label!r}; pass its path"
        )
    labels_path = file_at("label", wanted.label)
    x, y, shape = read_images(path, labels_path, max_bytes=wanted.max_bytes)
    return Raw(x, Distinct.of(y), "labels", lambda i: f"byte {8 + i} of {labels_path}", image_shape=shape)


def check_options(
    kind: str, labels: Any, wanted: Wanted, num_classes: Any, class_names: Any, header: Any, delimiter: Any
) -> None:
    """Raise `ConfigError` for options that mean nothing, here or together."""
    check_choice(WHO, "labels", labels, KINDS)
    check_integer(WHO, "max_bytes", wanted.max_bytes, at_least=1)
    regression, features = wanted.regression, wanted.features
    for option, value, legal in (("regression", regression, (True, False)), ("header", header, (None, True, False))):
        if not any(value is one for one in legal):
            raise ConfigError(
                f"{WHO}: {option} is one of {', '.join(map(str, legal))}; got {option}={value!r}; pass one"
            )
    if delimiter is not None and not (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'):
        raise ConfigError(f"{WHO}: delimiter is one character; got delimiter={delimiter!r}; pass ';' or '\\t'")
    if wanted.like is not None and features is not None and kind != "npz":
        raise ConfigError(told_twice("features", features))
    foreign = {"header": header, "delimiter": delimiter} if kind != "csv" else {}
    foreign |= {"features": features} if kind == "idx" else {}
    foreign |= {"regression": regression or None} if kind == "idx" else {}
    foreign |= {"keep": wanted.keep or None} if kind in ("idx", "npz") else {}
    what = "takes" if kind == "table" else "files take"
    if kind == "npz":
        foreign_names = {"features": features, "label": wanted.label}
        for option, value in foreign_names.items():
            if not isinstance(value, str | None):
                raise ConfigError(
                    f"{WHO}: in an NPZ file {option} is the name of an array; got {option}={brief(value)}; pass text"
                )
    for option, value in foreign.items():
        if value is not None:
            raise ConfigError(f"{WHO}: {kind} {what} no {option}; got {option}={brief(value)}; leave it out")
    for option, value in (("num_classes", num_classes), ("class_names", class_names), ("labels", labels)):
        is_default = value is None or (isinstance(value, str) and value == "index")
        if regression and wanted.like is None and not is_default:
            raise ConfigError(
                f"{WHO}: regression=True has no classes; got {option}={brief(value)}; leave one of the two out"
            )


def told_twice(option: str, value: Any) -> str:
    """Return what to say about an option that `like` has answered already."""
    return f"{WHO}: like says what the labels and features are; got {option}={brief(value)}; leave one of the two out"


def file_at(option: str, path: Any) -> Path:
    """Return the path of a file that can be opened."""
    if not isinstance(path, str | os.PathLike):
        what = "the path of a file" if option == "label" else "the path of a file or a table"
        raise ConfigError(
            f"{WHO}: {option} is {what}; got {option}={brief(path)}; pass text or a Path; arrays go to data.dataset"
        )
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
