"""The options of every command: frozen values whose docstrings are the help on the screen."""

# Lines of the help are at most 58 characters long (52 where a command has short options): it keeps these line breaks.

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand

from jaxnn.cli._learn_config import Common, SweepConfig, Table, TrainConfig

__all__ = [
    "Common", "DataConfig", "DescribeConfig", "EvaluateConfig", "FetchConfig", "ListConfig", "PredictConfig",
    "ShowConfig", "SweepConfig", "Table", "TrainConfig",
]  # fmt: skip


Run = Annotated[Path, Positional, arg(metavar="RUN")]
File = Annotated[Path, Positional, arg(metavar="FILE")]


@dataclass(frozen=True)
class PredictConfig(Table, Common):
    """Predict the label of every row of a file, with its probabilities, by the model of a run folder.

    Columns are found by name, in whatever order; others are named and
    left alone. The file need not have labels: they are not looked at.
    """

    run: Run
    """The run folder that `jaxnn train` printed."""

    file: File
    """What to predict from: a file of any kind that can
    be trained on."""

    output: Path | None = None
    """Where to write: a .csv or .parquet file, or - for
    CSV on standard output. None: FILE-predictions.csv,
    in the current folder."""

    keep: tuple[str, ...] = ()
    """Columns of the file to copy beside the
    predictions, such as an id."""

    features: str | None = None
    """In .npz: the array to predict from. None: x."""

    overwrite: bool = False
    """Replace the output if it exists."""


@dataclass(frozen=True)
class EvaluateConfig(Table, Common):
    """Say how well the model of a run folder does on a file with labels."""

    run: Run
    """The run folder that `jaxnn train` printed."""

    file: File
    """Examples with labels, in a file of any kind that
    can be trained on."""

    label: str | None = None
    """The column of labels. None: the one the model was
    trained on. For IDX images: their labels' file."""

    features: str | None = None
    """In .npz: the array of features. None: x."""


@dataclass(frozen=True)
class ShowConfig(Common):
    """Show a run: what was trained, how it went, where it stopped and why, how good it is, which pictures there are."""

    run: Run
    """The run folder that `jaxnn train` printed."""


@dataclass(frozen=True)
class ListConfig(Common):
    """List the data sets known by name, and which are already on this machine."""


@dataclass(frozen=True)
class FetchConfig(Common):
    """Download a data set, check size and SHA-256 of every file, and say where it lies."""

    name: Annotated[str, Positional, arg(metavar="NAME")]
    """mnist or fashion_mnist."""

    folder: Path | None = None
    """Where to put the files. None: the cache folder of
    this platform, or the variable JAXNN_CACHE."""


@dataclass(frozen=True)
class DescribeConfig(Table, Common):
    """Describe a file or a named data set: rows, classes, ranges, missing values, and what training would trip over."""

    data: Annotated[str, Positional, arg(metavar="DATA")]
    """A file, or a name that `jaxnn data list` shows."""

    label: str | None = None
    """Of a file: the column of labels, by name or
    position. None: all columns are described alike."""

    features: str | None = None
    """In .npz: the array of features. None: x."""


@dataclass(frozen=True)
class DataConfig:
    """List, download and describe data sets."""

    action: (
        Annotated[ListConfig, subcommand("list", prefix_name=False)]
        | Annotated[FetchConfig, subcommand("fetch", prefix_name=False)]
        | Annotated[DescribeConfig, subcommand("describe", prefix_name=False)]
    )
