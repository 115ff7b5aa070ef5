"""The options of the commands that learn, `train` and `sweep`: what both have, and what each has alone."""

# Lines of the help are at most 58 characters long (52 where a command has short options): it keeps these line breaks.

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class Common:
    """The options that every command has."""

    json: bool = False
    """Print one JSON object on standard output, and
    nothing else."""

    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a file with columns is read."""

    header: Literal["auto", "yes", "no"] = "auto"
    """Of a CSV file: whether the first line names the
    columns. auto: yes, but numbers are refused."""

    delimiter: str | None = None
    """Of a CSV file, between cells; None: a comma."""


@dataclass(frozen=True)
class LearnConfig(Table, Common):
    """Data, model and steps: what every run needs."""

    who: ClassVar[str]

    data: str = "digits"
    """Which data: a file (.csv, .parquet, .feather, .arrow,
    .npz, IDX images) with --label, or a name: digits, iris,
    wine, breast_cancer (real), circle, xor, gauss, spiral
    (points in the plane), mnist, fashion_mnist (downloaded,
    or see --folder)."""

    label: str | None = None
    """Of a file: the column to learn, by name or position
    (-1 is the last). In .npz: an array, by default y. For
    IDX images: the file of their labels."""

    labels: Literal["index", "names", "pm1"] = "index"
    """How the file spells classes. index: 0..K-1, or words.
    names: every distinct value is a class. pm1: -1 and +1."""

    num_classes: int | None = None
    """Of a file: K, where labels are numbers and some of
    0..K-1 do not occur in it."""

    regression: bool = False
    """The label is a real number, not a class."""

    features: tuple[str, ...] | None = None
    """Of a file: the columns to learn from. None: all but
    the label."""

    hold_out: Path | None = None
    """A file like --data that says when to stop. None: a
    part of --data."""

    test: Path | None = None
    """A file like --data that is touched once, at the end.
    None: a part of --data."""

    folder: Path | None = None
    """Where the four IDX files of mnist or fashion_mnist
    are. None: where JAXNN_MNIST or JAXNN_FASHION_MNIST
    says, else they are downloaded."""

    standardise: Literal["auto", "yes", "no"] = "auto"
    """Shift and scale every feature to mean 0 and deviation 1
    on the training part. auto: unless features are pixels."""

    class_weights: tuple[float, ...] | Literal["none", "balanced"] = "none"
    """Weight of each class while learning and stopping: none,
    balanced (each class counts the same), or one number a
    class. The final table counts every example once."""

    hidden: tuple[int, ...] = (128, 128)
    """Units of each hidden layer. With nothing after it:
    logistic or softmax regression."""

    activation: str = "relu"
    """Of the hidden units: relu, tanh, sigmoid, identity."""

    plan: Literal["full", "stochastic", "mini-batch"] = "mini-batch"
    """What a step reads: all examples, one, or --batch-size."""

    batch_size: int = 32
    """Examples a step, with --plan mini-batch."""

    replacement: bool = False
    """Draw each example anew, so that one can come twice in
    an epoch: the textbook's "pick a random j"."""

    optimizer: str = "adam"
    """What turns gradients into steps: adam, adamw, rmsprop,
    sgd, momentum, nesterov."""

    aggregate: Literal["mean", "sum", "clipped"] = "mean"
    """What a step makes of the gradients of its examples.
    clipped: their mean, each shortened to --max-norm."""

    max_norm: float | None = None
    """With --aggregate clipped: the longest gradient of one
    example."""

    l2: float = 1e-4
    """Penalty 1/2 l2 |kernels|^2, in nats; biases are free."""

    epochs: int | None = None
    """The most passes over the training data. None: 200."""

    patience: int | None = None
    """Stop after so many epochs without a gain on the
    hold-out; the parameters of its best epoch are kept.
    None: 20."""

    monitor: Literal["log_likelihood", "accuracy"] = "log_likelihood"
    """What counts as a gain on the hold-out."""

    seed: int = 0
    """Of the split, the initial parameters and the order of
    the data; each gets a random stream of its own."""

    run_folder: Path | None = None
    """Where everything is written. None: a new folder,
    runs/<data>, runs/<data>-2, ... (of a sweep
    runs/<data>-sweep, ...)."""

    overwrite: bool = False
    """Replace the files of an earlier run in that folder."""

    quiet: bool = False
    """Print the run folder and nothing else."""


@dataclass(frozen=True)
class TrainConfig(LearnConfig):
    """Train a network by gradient ascent on its log likelihood, with early stopping, and write a run folder.

    The likelihood follows from the data: two classes have one logit
    (bernoulli), more have one each (categorical), real targets have a
    mean (gaussian). 70 % of the examples are learnt from, 15 % say when
    to stop, 15 % are touched once, at the end. mnist and fashion_mnist
    have a test part of their own and give 1/12 of the training part to
    the hold-out.
    """

    who: ClassVar[str] = "train"

    epochs: int | None = None
    """The most passes over the training data. None: 200, or
    what the run to --resume had."""

    patience: int | None = None
    """Stop after so many epochs without a gain on the
    hold-out; the parameters of its best epoch are kept.
    None: 20, or what the run to --resume had."""

    learning_rate: float | None = None
    """Size of a step. None: what the optimizer is usually
    given: 0.001; sgd 0.1; momentum, nesterov 0.01."""

    watch_gradients: bool = False
    """Tell in history.csv and the picture, each epoch, how
    noisy the gradients are and how their norms spread."""

    save_every: float | None = None
    """Seconds between two saves of the whole run, for
    --resume. None: 10."""

    resume: Path | None = None
    """Go on with the run in this folder where it stopped, to
    the same numbers. Its options are used again; a larger
    --epochs or --patience lets an ended run go on."""


@dataclass(frozen=True)
class SweepConfig(LearnConfig):
    """Train many networks in one program, over learning rates, seeds, penalties and folds, and say which rate to take.

    Every combination is run, each with early stopping of its own; none
    sees the test part. What all reached is written as a table and two
    pictures. The first seed and order are those of `jaxnn train`: at the
    same rate it makes the same run, up to rounding.
    """

    who: ClassVar[str] = "sweep"

    learning_rates: tuple[str, ...] = ()
    """Sizes of a step: numbers, or FIRST:LAST:COUNT for
    equal factors in between. None: 16, from 1/100 to 100
    times what the optimizer is usually given."""

    seeds: int = 8
    """How many initial parameters: those of --seed, and of
    the seeds that follow it."""

    orders: int = 1
    """How many orders of the data. With one, runs differ by
    their settings, not by luck, and are faster."""

    l2s: tuple[float, ...] = ()
    """Penalties to try, in place of the one of --l2."""

    folds: int | None = None
    """Cross-validation: training part and hold-out together
    are cut into so many folds, and each judges runs that
    have learnt from the others."""
