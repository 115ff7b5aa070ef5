"""The contracts between the rooms: a batch, and what a model, a likelihood, an objective and a plan must do.

Letters used everywhere: N examples, B batch, D features, H hidden units, K outputs, P parameters, R runs, T steps, S
steps an epoch.
Sign used everywhere: log likelihoods in nats, larger is better, maximised.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

Params = Any  # a pytree of floating-point arrays


class Batch(NamedTuple):
    """Examples, each array with the examples along its leading axis.

    Attributes:
      x: `dtype[N, D]`, or any pytree of arrays with leading axis N.
      y: integer labels `int32[N]`, or targets `dtype[N]` or `dtype[N, K]` for regression.
      weight: `dtype[N]`, not negative, or None for one each. An example of weight 0 counts as absent, whatever it
        holds.
    """

    x: Any
    y: Any
    weight: Any = None


def num_examples(batch: Batch) -> int:
    """Return N, the length of the leading axis."""
    return jax.tree.leaves(batch.x)[0].shape[0]


def one_example(x: Any) -> Any:
    """Return the shape and dtype of one example of a batch."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), x)


def as_jax(value: Any, dtype: Any = None) -> Array:
    """Return an array as one of JAX's, in a dtype.

    One of NumPy is copied, for its owner may write to it, and cast on the host: `jnp.asarray` would compile a program
    for each new shape.
    """
    if isinstance(value, jax.Array):
        is_right = dtype is None or dtype == value.dtype  # not `in`: to NumPy float64 == None
        is_strong = not getattr(value, "weak_type", True)
        return value if is_right and is_strong else jnp.asarray(value, dtype)  # which takes 50 µs to do nothing
    a = np.asarray(value)
    with np.errstate(over="ignore"):  # the checks find an infinity by its place
        return jax.device_put(a.astype(a.dtype.newbyteorder("=") if dtype is None else dtype))


def scalar(value: Any, dtype: Any) -> Array:
    """Return a number as an array of this dtype; nothing is compiled for one of Python or NumPy."""
    return as_jax(value, dtype)


@runtime_checkable
class Model(Protocol):
    """A pure function of parameters and *one* example. Hashable: it is compiled into the program."""

    def apply(self, params: Params, x: Any, /) -> Float[Array, " K"]:
        """Return the outputs (logits or means) of one example."""
        ...


@runtime_checkable
class Likelihood(Protocol):
    """What the outputs of one example say about its label."""

    def classes(self, num_outputs: int) -> int | None:
        """Return how many classes a model of so many outputs tells apart, None for real targets; raise if it cannot."""
        ...

    def log_prob(self, outputs: Float[Array, " K"], y: Any) -> Float[Array, ""]:
        """Return log P(y | outputs), in nats; NaN where y is no legal label."""
        ...

    def predict(self, outputs: Float[Array, " K"]) -> Array:
        """Return the most probable y."""
        ...

    def predict_proba(self, outputs: Float[Array, " K"]) -> Float[Array, " C"]:
        """Return the probability of every class."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A log likelihood to maximise. A pytree: its leaves are numbers worth sweeping, the rest is compiled in."""

    def per_example(self, params: Params, x: Any, y: Any) -> Float[Array, ""]:
        """Return log P(y | x; w) of one example."""
        ...

    def classes(self, params: Params, x: Any) -> int | None:
        """Return the number of classes, None for real or unknown targets; x is one example, or its shape and dtype."""
        ...

    def penalty(self, params: Params) -> Float[Array, ""]:
        """Return what is subtracted from the mean log likelihood."""
        ...

    def predict(self, params: Params, x: Any) -> Array:
        """Return the most probable y of one example."""
        ...

    def predict_proba(self, params: Params, x: Any) -> Float[Array, " C"]:
        """Return the class probabilities of one example."""
        ...


@runtime_checkable
class Plan(Protocol):
    """Which examples each step reads: a pure function, so resuming needs no iterator. Hashable."""

    def batch_size(self, num_examples: int) -> int:
        """Return B."""
        ...

    def num_steps(self, num_examples: int) -> int:
        """Return S, the steps of one epoch."""
        ...

    def indices(
        self, key: PRNGKeyArray, epoch: Int[Array, ""] | int, step: Int[Array, ""] | int, num_examples: int
    ) -> tuple[Int[Array, " B"] | None, Float[Array, " B"] | None]:
        """Return the indices of one step and their weights, not all 0; None for all in stored order, and for ones."""
        ...
