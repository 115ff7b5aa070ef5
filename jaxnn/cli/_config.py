"""The options of `jaxnn train`: a frozen value whose docstrings are the help on the screen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """Train a network by gradient ascent on its log likelihood, with early stopping, and write a run folder.

    The likelihood follows from the data: two classes have one logit
    (bernoulli), more have one each (categorical), real targets have a
    mean (gaussian). 70 % of the examples are learnt from, 15 % say when
    to stop, 15 % are touched once, at the end. mnist and fashion_mnist
    have a test part and give 1/12 of the training part to the hold-out.
    """

    # Lines of at most 58 characters: the help keeps these line breaks.

    data: str = "digits"
    """Which data: digits, iris, wine, breast_cancer (real), or
    circle, xor, gauss, spiral (points in the plane), or
    mnist, fashion_mnist (downloaded, or see --folder)."""

    folder: Path | None = None
    """Where the four IDX files of mnist or fashion_mnist are.
    None: where the environment variable JAXNN_MNIST or
    JAXNN_FASHION_MNIST says, else in the cache."""

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

    learning_rate: float | None = None
    """Size of a step. None: what the optimizer is usually
    given: 0.001; sgd 0.1; momentum, nesterov 0.01."""

    l2: float = 1e-4
    """Penalty 1/2 l2 |kernels|^2, in nats; biases are free."""

    epochs: int = 200
    """The most passes over the training data."""

    patience: int = 20
    """Stop after so many epochs without a gain on the
    hold-out. The parameters of its best epoch are kept."""

    monitor: Literal["log_likelihood", "accuracy"] = "log_likelihood"
    """What counts as a gain on the hold-out."""

    seed: int = 0
    """Of the split, the initial parameters and the order of
    the data; each gets a random stream of its own."""

    run_folder: Path | None = None
    """Where everything is written. None: a new folder,
    runs/<data>-<time in UTC>."""

    overwrite: bool = False
    """Replace the files of an earlier run in that folder."""

    quiet: bool = False
    """Print the run folder and nothing else."""

    debug: bool = False
    """Show the traceback of an error."""
