"""How one direction is made of the gradients of a batch: their mean, their sum, clipped, or as a user writes it.

    w <- w + update(aggregate(g_1, ..., g_B) - ∇ penalty(w)),   g_i = ∇ log P(y_i | x_i; w)

Only the mean and the sum do without one gradient an example.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import check_choice
from jaxnn._errors import ConfigError, MemoryBudgetError, brief, said
from jaxnn._types import Batch, Params, scalar
from jaxnn.per_example._chunks import factor_bytes
from jaxnn.per_example._factors import Factors, make_factors
from jaxnn.per_example._given import MEMORY, checked_max_norm

NAMES = ("mean", "sum")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Plain:
    """The mean or the sum: linear, so the gradient of the batch gives it without a gradient an example."""

    name: str


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Clipped:
    """The mean of the gradients, each clipped to a norm of at most `max_norm`; made by `clipped`."""

    max_norm: Any

    def __call__(self, gradients: Factors) -> Params:
        """Return Σ_i weight_i g_i min(1, max_norm / |g_i|) / Σ_i weight_i."""
        mean, _ = gradients.wide_clipped_sum(self.max_norm, over=jnp.sum(gradients.weights()))
        return mean


@jax.tree_util.register_static
@dataclass(frozen=True)
class Written:
    """An aggregate that somebody wrote as a function, or as a value that is compiled in."""

    function: Any

    def __call__(self, gradients: Factors) -> Params:
        return self.function(gradients)

    def __repr__(self) -> str:
        return repr(self.function)


def clipped(max_norm: Any) -> Clipped:
    """Return the aggregate that clips: the mean of the gradients, each shortened to a norm of at most C = max_norm.

        Σ_i weight_i g_i min(1, C / |g_i|) / Σ_i weight_i

    No single example can move a step far, so a few wrong labels do little harm. (Private learning needs noise and an
    accounting besides, which are not here.) An epoch takes a tenth to a fifth longer than with the plain mean. For the
    edges, see `per_example.clipped_sum`. A gradient that is not finite contributes zero; its log likelihood still
    counts in the history, and ends the run as diverged where it is not finite. A line search compares plain values, so
    it does not go with this.

    An aggregate is any function of `per_example.Factors` that returns a tree like the parameters: the direction uphill,
    in the scale of a mean, without the penalty. Write your own as a module-level function, or as a frozen dataclass; a
    number in it that you want to sweep without compiling anew is a leaf if you register the class with
    `jax.tree_util.register_dataclass`. Here are medians of group means, which a minority of corrupted labels cannot
    carry away:

    Args:
      max_norm: C >= 0, or infinity; a leaf: a new value does not recompile.

    Raises:
      ConfigError: max_norm no number >= 0.

    Example:
      >>> import dataclasses, jax, jax.numpy as jnp, jaxnn, optax
      >>> iris = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> params = objective.model.init(0)
      >>> def learn(aggregate):
      ...     return jaxnn.fit(objective, optax.sgd, params, iris, learning_rate=0.1, max_epochs=5, aggregate=aggregate)
      >>> learn(jaxnn.clipped(1.0)).history.log_likelihood[-1] > learn(jaxnn.clipped(0.0)).history.log_likelihood[-1]
      np.True_

      >>> @dataclasses.dataclass(frozen=True)
      ... class MedianOfMeans:
      ...     groups: int
      ...     def __call__(self, gradients):  # jaxnn.per_example.Factors of one batch
      ...         weight = gradients.weights()
      ...         mine = jnp.arange(len(weight)) % self.groups == jnp.arange(self.groups)[:, None]
      ...         shares = mine * weight / jnp.sum(mine * weight, axis=1, keepdims=True)
      ...         means = jax.vmap(gradients.weighted_sum)(shares)  # NaN for a group without examples
      ...         return jax.tree.map(lambda leaf: jnp.nanmedian(leaf, axis=0), means)
      >>> str(learn(MedianOfMeans(5)).status)
      'max_epochs'

    References: Abadi et al. 2016 (arXiv 1607.00133), algorithm 1; Minsker 2015 (arXiv 1308.1334) on medians of means.
    """
    return Clipped(checked_max_norm("clipped", max_norm))


def as_aggregate(who: str, aggregate: Any) -> Any:
    """Return the pytree that stands for an aggregate in a compiled program; raise `ConfigError` for what is none."""
    if isinstance(aggregate, Plain | Written):
        return aggregate
    if isinstance(aggregate, str):
        check_choice(who, "aggregate", aggregate, NAMES)
        return Plain(aggregate)
    if not callable(aggregate):
        raise ConfigError(
            f"{who}: aggregate is one of {', '.join(NAMES)}, or a function of per_example.Factors; got "
            f"aggregate={brief(aggregate)}; pass jaxnn.clipped(1.0), say"
        )
    if isinstance(aggregate, type):
        raise ConfigError(
            f"{who}: an aggregate is a value; got the class aggregate={aggregate.__name__}; pass "
            f"{aggregate.__name__}(...)"
        )
    if isinstance(aggregate, Clipped):
        return Clipped(checked_max_norm(who, aggregate.max_norm))
    leaves = jax.tree.leaves(aggregate)
    if len(leaves) != 1 or leaves[0] is not aggregate:  # a pytree: its numbers are data
        if not all(isinstance(leaf, bool | int | float | np.number | np.ndarray | jax.Array) for leaf in leaves):
            raise ConfigError(
                f"{who}: the leaves of an aggregate are numbers; got aggregate={brief(aggregate)}; make what is none a "
                "meta field of its class"
            )
        dtype = jax.dtypes.canonicalize_dtype(float)
        return jax.tree.map(
            lambda leaf: scalar(leaf, dtype) if isinstance(leaf, float) else jnp.asarray(leaf), aggregate
        )
    try:
        hash(aggregate)
    except TypeError as error:
        raise ConfigError(
            f"{who}: an aggregate is hashable, or a registered pytree; got aggregate={brief(aggregate)}; make its "
            "class a frozen dataclass"
        ) from error
    return Written(aggregate)


# Only its shape is asked for, and `jit` remembers that.
_aggregated = jax.jit(lambda aggregate, objective, params, batch: aggregate(make_factors(objective, params, batch)))


def check_aggregate(who: str, aggregate: Any, objective: Any, params: Params, batch: Batch, batch_size: int) -> None:
    """Raise unless the gradients of so many examples of a batch fit in memory, and the aggregate makes a tree like the
    parameters of them; only shapes are computed.
    """
    if isinstance(aggregate, Plain):
        return
    few = jax.tree.map(lambda a: jax.ShapeDtypeStruct((batch_size, *a.shape[1:]), a.dtype), batch)
    need = batch_size * factor_bytes(objective, params, few)
    if need > MEMORY:
        raise MemoryBudgetError(
            f"{who}: the gradients of a batch fit in {said(MEMORY)}; got {batch_size:,} examples that take "
            f"{said(need)}; pass a smaller batch, or see which parameters need it with per_example.explain"
        )
    made = _aggregated.eval_shape(aggregate, objective, params, few)
    want, got = (jax.tree.map(jnp.shape, tree) for tree in (params, made))
    if jax.tree.structure(params) != jax.tree.structure(made) or want != got:
        raise ConfigError(
            f"{who}: an aggregate returns a tree like the parameters; got {brief(got)} of {aggregate!r}; return what "
            "gradients.weighted_sum(c) does"
        )
