"""The objective of learning: the penalised mean log likelihood of a batch, for a model or for any pure function.

    objective(w, batch) = Σ_i weight_i log P(y_i | x_i; w) / Σ_i weight_i  -  ½ l2 Σ kernel²

It is maximised. Biases are never penalised. scikit-learn's C is 1 / (N l2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn._checks import check_integer, check_number
from jaxnn._errors import ConfigError, ShapeError
from jaxnn._models import kernel_mask
from jaxnn._types import Batch, Model, Params, num_examples


class InBatches:
    """An objective that computes many examples at once by a way of its own, to the same numbers as one by one.

    The only one is in `_layout`, a room below; what sums over examples asks for this class.
    """

    def log_probs(self, params: Params, x: Any, y: Any) -> Float[Array, " N"]:
        """Return log P(y_i | x_i; w) of every example."""
        raise NotImplementedError

    def predictions(self, params: Params, x: Any) -> Array:
        """Return the most probable y_i of every example."""
        raise NotImplementedError


def weighted_log_likelihood(
    objective: Any, params: Params, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""] | float]:
    """Return Σ_i weight_i log P(y_i | x_i; w) and Σ_i weight_i: the two sums every mean here is made of."""
    if num_examples(batch) == 1:  # the same sums without a batch axis: XLA then sees vectors, twice as fast on CPU
        one = jax.tree.map(lambda a: a[0], (batch.x, batch.y))
        log_probs = objective.per_example(params, *one)[None]
    elif isinstance(objective, InBatches):
        log_probs = objective.log_probs(params, batch.x, batch.y)
    else:
        log_probs = jax.vmap(objective.per_example, (None, 0, 0))(params, batch.x, batch.y)
    if log_probs.ndim != 1:
        raise ShapeError(
            f"log likelihood: one number an example; got shape {log_probs.shape} for y of shape "
            f"{[a.shape for a in jax.tree.leaves(batch.y)]}; pass y of shape [N] for classes"
        )
    return weighted_total(log_probs, batch.weight)


def weighted_total(log_probs: Float[Array, " N"], weight: Any) -> tuple[Float[Array, ""], Float[Array, ""] | float]:
    """Return Σ_i weight_i log P_i and Σ_i weight_i, in float32 or wider; a weight of None is ones."""
    log_probs = _wide(log_probs)
    if weight is None:
        return jnp.sum(log_probs), float(log_probs.shape[0])
    weight = weight.astype(log_probs.dtype)
    return jnp.sum(jnp.where(weight > 0, weight * log_probs, 0)), jnp.sum(weight)


def predictions(objective: Any, params: Params, x: Any) -> Array:
    """Return the most probable y_i of every example."""
    if isinstance(objective, InBatches):
        return objective.predictions(params, x)
    return jax.vmap(objective.predict, (None, 0))(params, x)


def without_absent(batch: Batch) -> Batch:
    """Return the batch with a present row in place of every row of weight 0: a NaN there reaches nothing.

    A present row, not zeros: a user's function need not be differentiable at zeros (x / |x|), and 0 * NaN is NaN. Zeros
    only where no row is present.
    """
    if batch.weight is None or num_examples(batch) == 0:
        return batch
    present = batch.weight > 0
    first = jnp.argmax(present)

    def blank(a):
        a = jnp.asarray(a)
        filling = jnp.where(present[first], a[first], jnp.zeros_like(a[first]))
        return jnp.where(present.reshape((-1,) + (1,) * (a.ndim - 1)), a, filling)

    return Batch(jax.tree.map(blank, batch.x), jax.tree.map(blank, batch.y), batch.weight)


def _wide(a: Any) -> Array:
    """Return the array in float32 or wider: what every sum here is made in."""
    a = jnp.asarray(a)
    return a.astype(jnp.promote_types(a.dtype, jnp.float32))


# Only its shape is asked for, and `jit` remembers that, where `jax.eval_shape` would trace again.
_outputs = jax.jit(lambda model, params, x: model.apply(params, x), static_argnums=0)


@dataclass(frozen=True)
class _Penalised:
    """What every objective shares: the mean over a batch and the L2 penalty on kernels."""

    def penalty(self, params: Params) -> Float[Array, ""]:
        """Return ½ l2 Σ kernel², over the leaves of two axes or more."""
        kernels = [
            w for w, is_kernel in zip(*map(jax.tree.leaves, (params, kernel_mask(params))), strict=True) if is_kernel
        ]
        squares = sum((jnp.sum(jnp.square(_wide(w))) for w in kernels), start=jnp.zeros(()))
        return 0.5 * self.l2 * squares  # type: ignore[attr-defined]

    def __call__(self, params: Params, batch: Batch) -> Float[Array, ""]:
        """Return the penalised mean log likelihood of a batch, nats per example; NaN where all weights are 0.

        Raises `ShapeError` for a batch without examples: it has no mean, and a NaN would travel.
        """
        batch = Batch(*batch)
        if num_examples(batch) == 0:
            raise ShapeError("log likelihood: a mean is over one example or more; got N=0; leave the empty batch out")
        batch = without_absent(batch)
        total, weight = weighted_log_likelihood(self, params, batch)
        return total / weight - self.penalty(params)


@partial(jax.tree_util.register_dataclass, data_fields=("likelihood", "l2"), meta_fields=("model",))
@dataclass(frozen=True)
class LogLikelihood(_Penalised):
    """The log likelihood of a model's parameters: `likelihood.log_prob(model.apply(params, x), y)`, penalised.

        Σ_i weight_i log P(y_i | x_i; w) / Σ_i weight_i  -  ½ l2 Σ kernel²

    Args:
      model: anything with `apply(params, x) -> outputs [K]` for one example, hashable: `Mlp`, or a Flax module.
      likelihood: `bernoulli`, `categorical`, `gaussian`, or your own (see `Likelihood`).
      l2: strength of the penalty, nats, >= 0; a leaf: a new value does not recompile.

    Raises:
      ConfigError: no such model or likelihood, or l2 no finite number >= 0.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 3), jaxnn.categorical)
      >>> params = objective.model.init(0)
      >>> batch = jaxnn.Batch(x=jnp.ones((5, 2)), y=jnp.zeros(5, int))
      >>> round(objective(params, batch).item(), 4)  # log(1/3)
      -1.0986
    """

    model: Any
    likelihood: Any
    l2: Any = 0.0

    def __post_init__(self):
        # Runs again whenever JAX rebuilds the value, with tracers in the leaves: checked only where numbers.
        if not isinstance(self.model, Model):
            raise ConfigError(
                f"LogLikelihood: a model has apply(params, x); got model={self.model!r}; pass jaxnn.Mlp(...), "
                "or wrap a pure function with jaxnn.from_function"
            )
        try:
            hash(self.model)
        except TypeError as error:
            raise ConfigError(
                f"LogLikelihood: a model is hashable, it is compiled in; got model={type(self.model).__name__}; "
                "keep arrays in the parameters, or use jaxnn.from_function"
            ) from error
        if isinstance(self.likelihood, type) or isinstance(self.likelihood, str):
            raise ConfigError(
                f"LogLikelihood: likelihood is a value; got likelihood={self.likelihood!r}; pass jaxnn.categorical, say"
            )
        if isinstance(self.l2, bool | int | float | str | np.number):
            check_number("LogLikelihood", "l2", self.l2)

    def per_example(self, params: Params, x: Any, y: Any) -> Float[Array, ""]:
        """Return log P(y | x; w) of one example, nats."""
        return self.likelihood.log_prob(self.model.apply(params, x), y)

    def classes(self, params: Params, x: Any) -> int | None:
        """Return the number of classes, None for real targets; x is one example, or its shape and dtype."""
        shape = _outputs.eval_shape(self.model, params, x).shape
        if len(shape) != 1:
            raise ShapeError(
                f"LogLikelihood: a model returns the outputs [K] of one example; got shape {shape} from "
                f"{type(self.model).__name__}; add an axis with [None], or use jaxnn.from_function"
            )
        return self.likelihood.classes(shape[0])

    def predict(self, params: Params, x: Any) -> Array:
        """Return the most probable y of one example."""
        return self.likelihood.predict(self.model.apply(params, x))

    def predict_proba(self, params: Params, x: Any) -> Float[Array, " C"]:
        """Return the class probabilities of one example."""
        return self.likelihood.predict_proba(self.model.apply(params, x))


@partial(jax.tree_util.register_dataclass, data_fields=("l2",), meta_fields=("log_prob", "num_classes"))
@dataclass(frozen=True)
class FunctionLogLikelihood(_Penalised):
    """The log likelihood given by a pure function of one example; made by `from_function`."""

    log_prob: Callable
    num_classes: int | None = None
    l2: Any = 0.0

    def per_example(self, params: Params, x: Any, y: Any) -> Float[Array, ""]:
        """Return log P(y | x; w) of one example, nats."""
        return self.log_prob(params, x, y)

    def classes(self, params: Params, x: Any) -> int | None:
        """Return the number of classes given to `from_function`."""
        del params, x
        return self.num_classes

    def _class_log_probs(self, params: Params, x: Any) -> Float[Array, " K"]:
        if self.num_classes is None:
            raise ConfigError(
                "predict: the classes of a from_function objective are named; got num_classes=None; "
                "pass from_function(log_prob, num_classes=K)"
            )
        return jax.vmap(self.log_prob, (None, None, 0))(params, x, jnp.arange(self.num_classes, dtype=jnp.int32))

    def predict(self, params: Params, x: Any) -> Array:
        """Return the class of the largest log probability, the first on ties."""
        return jnp.argmax(self._class_log_probs(params, x)).astype(jnp.int32)

    def predict_proba(self, params: Params, x: Any) -> Float[Array, " K"]:
        """Return P(y=k) for every class, normalised."""
        return jax.nn.softmax(self._class_log_probs(params, x))


def from_function(log_prob: Callable, *, num_classes: int | None = None, l2: Any = 0.0) -> FunctionLogLikelihood:
    """Return the objective of any pure function `log_prob(params, x, y)` of one example: Flax, Equinox, hand-written.

    Args:
      log_prob: returns log P(y | x; w) of one example, a floating-point scalar, nats. Define it once: a new function
        object is compiled anew.
      num_classes: K >= 2, so that `predict` can ask for each class in turn; None where y is no class.
      l2: penalty ½ l2 Σ kernel² on the leaves of two axes or more.

    Raises:
      ConfigError: not a function, or num_classes or l2 out of range.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnn
      >>> def log_prob(w, x, y):
      ...     return jax.nn.log_sigmoid(jnp.where(y == 1, 1, -1) * (w @ x))
      >>> objective = jaxnn.from_function(log_prob, num_classes=2)
      >>> round(objective(jnp.zeros(2), jaxnn.Batch(jnp.ones((4, 2)), jnp.ones(4, int))).item(), 4)
      -0.6931
    """
    if not callable(log_prob):
        raise ConfigError(
            f"from_function: log_prob is a function of (params, x, y); got log_prob={log_prob!r}; pass one"
        )
    if num_classes is not None:
        check_integer("from_function", "num_classes", num_classes, at_least=2)
    if not isinstance(l2, jax.Array):
        check_number("from_function", "l2", l2)
    return FunctionLogLikelihood(log_prob, num_classes, l2)
