"""How well parameters do on data: log likelihood, accuracy, confusion, Brier score, calibration, as sums that merge.

Every figure is a ratio of weighted sums. Sums over chunks add up, so a data set of any size is read in bounded memory
and ragged last chunks are exact.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn._checks import check_finite, check_integer, is_traced
from jaxnn._door import as_inputs, checked_batch, checked_params, strong
from jaxnn._errors import ShapeError
from jaxnn._scores import CHUNK_SIZE, evaluation_sums
from jaxnn._types import Batch, Params, as_jax, num_examples, one_example
from jaxnn.data import Dataset


@dataclass(frozen=True)
class Evaluation:
    """The weighted sums over a data set, and the figures they give. Two evaluations of disjoint parts add up with `+`.

    Sums (float64 on the host): `weight`, `log_prob`, `correct`, `squared` (Brier, or squared error), `confusion [K,
    K]` with true classes in rows, and `bins [15, 3]`: weight, confidence and correct of each confidence bin. Real
    targets have no `correct`, `confusion` and `bins`.
    """

    num_examples: int
    weight: float
    log_prob: float
    correct: float
    squared: float
    confusion: np.ndarray | None
    bins: np.ndarray | None

    @property
    def log_likelihood(self) -> float:
        """Mean log P(y | x; w), nats per example."""
        return self.log_prob / self.weight

    @property
    def accuracy(self) -> float:
        """Share of examples whose most probable class is the label; NaN for real targets."""
        return self.correct / self.weight

    @property
    def brier(self) -> float:
        """Mean squared distance of the probabilities from the truth: Σ_k (p_k - y_k)², halved for two classes;
        lower is better.
        """
        if self.confusion is None:
            return float("nan")
        return self.squared / self.weight / (2 if len(self.confusion) == 2 else 1)

    @property
    def root_mean_squared_error(self) -> float:
        """Root of the mean over examples of |y - mean|², for real targets; NaN for classes."""
        return float("nan") if self.confusion is not None else float(np.sqrt(self.squared / self.weight))

    @property
    def calibration_error(self) -> float:
        """Mean |confidence - accuracy| over 15 equal-width bins of the top class's probability, weighted by bin;
        NaN for real targets.
        """
        if self.bins is None:
            return float("nan")
        return float(np.sum(np.abs(self.bins[:, 1] - self.bins[:, 2])) / self.weight)

    def __add__(self, other: "Evaluation") -> "Evaluation":
        def add(a: Any, b: Any) -> Any:
            return None if a is None else a + b

        return Evaluation(*(add(getattr(self, f), getattr(other, f)) for f in self.__dataclass_fields__))

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that apply, as plain numbers for JSON."""
        figures = {"num_examples": self.num_examples, "log_likelihood": self.log_likelihood}
        if self.confusion is None:
            return figures | {"root_mean_squared_error": self.root_mean_squared_error}
        return figures | {
            "accuracy": self.accuracy,
            "brier": self.brier,
            "calibration_error": self.calibration_error,
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        return "\n".join(
            f"{name.replace('_', ' '):<24}{value:>12,}"
            if isinstance(value, int)
            else f"{name.replace('_', ' '):<24}{value:>12.4f}"
            for name, value in self.to_dict().items()
            if name != "confusion"
        )


def evaluate(objective: Any, params: Params, data: Any, *, chunk_size: int = CHUNK_SIZE) -> Evaluation:
    """Return how well the parameters explain the data, in one pass and bounded memory.

    Args:
      objective: a `LogLikelihood`, or `from_function(..., num_classes=K)`; its penalty plays no part here.
      params: the parameters.
      data: a `Dataset` or a `Batch`; weights count.
      chunk_size: examples in memory at a time, >= 1.

    Returns:
      An `Evaluation`; print it, or read `.log_likelihood`, `.accuracy`, `.confusion`, `.brier`, `.calibration_error`.

    Raises:
      ConfigError, ShapeError, LabelError: as `fit` does.

    Example:
      >>> import jaxnn
      >>> ds = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> jaxnn.evaluate(objective, objective.model.init(0), ds).accuracy  # zeros: the first class for all
      0.3333333333333333
    """
    chunk_size = check_integer("evaluate", "chunk_size", chunk_size, at_least=1)
    batch = checked_batch("evaluate", objective, params, data)
    sums = evaluation_sums(strong(objective), params, _padded(batch, chunk_size), chunk_size)
    host = jax.tree.map(lambda a: np.asarray(a, np.float64), sums)
    scalars = {k: float(host[k]) for k in ("weight", "log_prob", "correct", "squared")}
    return Evaluation(num_examples(batch), **scalars, confusion=host["confusion"], bins=host["bins"])


def predict(objective: Any, params: Params, x: Any, *, chunk_size: int = CHUNK_SIZE) -> Array:
    """Return the most probable y of every example: classes `int32[N]`, or means.

    Args:
      objective: what the parameters were trained for.
      params: the parameters.
      x: `dtype[N, D]`, or a `Dataset` or `Batch`, whose labels are not looked at. N = 0 gives an empty answer.
      chunk_size: examples in memory at a time.
    """
    return _map_examples("predict", objective, params, x, chunk_size)


def predict_proba(objective: Any, params: Params, x: Any, *, chunk_size: int = CHUNK_SIZE) -> Float[Array, "N C"]:
    """Return the probability of every class for every example, `dtype[N, K]`; arguments as `predict`.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 1), jaxnn.bernoulli)
      >>> jaxnn.predict_proba(objective, objective.model.init(0), jnp.ones((1, 2))).tolist()
      [[0.5, 0.5]]
    """
    return _map_examples("predict_proba", objective, params, x, chunk_size)


def _padded(batch: Batch, chunk_size: int) -> Batch:
    """Return a small batch filled up to a power of two with rows of weight 0, so that few sizes are compiled."""
    rows = num_examples(batch)
    extra = _missing(rows, chunk_size)
    if not extra:
        return batch
    weight = np.ones(rows, np.float32) if batch.weight is None else np.asarray(batch.weight)
    x, y = _filled((batch.x, batch.y), extra)
    return Batch(x, y, np.concatenate([weight, np.zeros(extra, weight.dtype)]))


def _missing(rows: int, chunk_size: int) -> int:
    """Return how many rows fill a small batch up to a power of two."""
    return max(0, min(1 << (rows - 1).bit_length(), chunk_size) - rows)


def _filled(tree: Any, extra: int) -> Any:
    """Return the rows with so many copies of the first behind them. On the host: nothing is compiled for a new size."""

    def fill(a):
        a = np.asarray(a)
        return np.concatenate([a, np.broadcast_to(a[:1], (extra, *a.shape[1:]))])

    return jax.tree.map(fill, tree)


# Only its shape is asked for, and `jit` remembers that, where `jax.eval_shape` would trace again.
_one_answer = jax.jit(lambda method, objective, params, x: getattr(objective, method)(params, x), static_argnums=0)


@partial(jax.jit, static_argnums=(0, 4))
def _mapped(method: str, objective: Any, params: Params, x: Any, chunk_size: int) -> Array:
    return jax.lax.map(lambda x_i: getattr(objective, method)(params, x_i), x, batch_size=chunk_size)


def _map_examples(method: str, objective: Any, params: Params, x: Any, chunk_size: int) -> Array:
    check_integer(method, "chunk_size", chunk_size, at_least=1)
    params = checked_params(method, objective, params)
    x = x.batch.x if isinstance(x, Dataset) else x.x if isinstance(x, Batch) else x
    x = as_inputs(method, objective, params, x)
    leaves = jax.tree.leaves(x)
    if not leaves or any(leaf.ndim == 0 for leaf in leaves):
        raise ShapeError(f"{method}: x holds one row an example; got x={x!r}; pass [N, D], or x[None] for one example")
    one = one_example(x)
    out = _one_answer.eval_shape(method, strong(objective), params, one)
    if not is_traced(x):
        for leaf in leaves:
            check_finite(method, "x", leaf)
    rows = leaves[0].shape[0]
    if rows == 0:
        return jnp.zeros((0, *out.shape), out.dtype)
    extra = 0 if is_traced(objective, params, x) else _missing(rows, chunk_size)
    answers = _mapped(method, strong(objective), params, _filled(x, extra) if extra else x, chunk_size)
    return as_jax(np.asarray(answers)[:rows]) if extra else answers
