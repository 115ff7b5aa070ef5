"""Many runs as one model: the average of what they say.

P(y | x) = 1/R Σ_r P_r(y | x)
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn._errors import ConfigError
from jaxnn._likelihoods import Bernoulli
from jaxnn._sweep._runs import Runs
from jaxnn._types import Params


@partial(jax.tree_util.register_dataclass, data_fields=("member",), meta_fields=())
@dataclass(frozen=True)
class Ensemble:
    """The log likelihood of an average of models; its parameters are those of all members, each leaf `[R, *leaf]`.

    An objective like any other: `evaluate`, `predict`, `predict_proba` take it with these parameters.

    Attributes:
      member: the objective of each.
    """

    member: Any

    def per_example(self, params: Params, x: Any, y: Any) -> Float[Array, ""]:
        """Return log 1/R Σ_r P_r(y | x), nats."""
        each = jax.vmap(self.member.per_example, (0, None, None))(params, x, y)
        return jax.nn.logsumexp(each) - math.log(each.shape[0])

    def classes(self, params: Params, x: Any) -> int | None:
        """Return the number of classes of its members."""
        return self.member.classes(jax.tree.map(lambda leaf: leaf[0], params), x)

    def penalty(self, params: Params) -> Float[Array, ""]:
        """Return the mean penalty of the members."""
        return jnp.mean(jax.vmap(self.member.penalty)(params))

    def predict(self, params: Params, x: Any) -> Array:
        """Return the class of the largest average probability; for real targets, the average of the means.

        On ties the first class, but of two by one logit the second, as an activation of 0 decides.
        """
        if self.classes(params, x) is None:
            return jnp.mean(jax.vmap(self.member.predict, (0, None))(params, x), axis=0)
        p = self.predict_proba(params, x)
        if isinstance(getattr(self.member, "likelihood", None), Bernoulli):
            return (p[1] >= p[0]).astype(jnp.int32)
        return jnp.argmax(p).astype(jnp.int32)

    def predict_proba(self, params: Params, x: Any) -> Float[Array, " C"]:
        """Return the average probability of every class."""
        return jnp.mean(jax.vmap(self.member.predict_proba, (0, None))(params, x), axis=0)


def ensemble(runs: Runs, which: Any = None) -> tuple[Ensemble, Params]:
    """Return runs as one model whose probabilities are the average of theirs: an objective, and its parameters.

    Args:
      runs: of a sweep.
      which: indices of the members, as `runs.where(learning_rate=0.1)`; None: all that have not diverged.

    Raises:
      ConfigError: no members, or an index that is none.

    Example:
      >>> import jaxnn, optax
      >>> train, hold_out = jaxnn.data.split(jaxnn.data.load("iris"), (0.7, 0.3))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Mlp((4, 8, 3)), jaxnn.categorical)
      >>> grid = {"learning_rate": 0.1, "seed": range(8)}
      >>> runs = jaxnn.sweep(objective, optax.sgd, train, hold_out, grid=grid, max_epochs=20)
      >>> together, params = jaxnn.ensemble(runs)
      >>> jaxnn.evaluate(together, params, hold_out).log_likelihood > float(runs.log_likelihood.mean())
      True

    References: Lakshminarayanan, Pritzel & Blundell 2017 (arXiv 1612.01474).
    """
    who = "ensemble"
    if not isinstance(runs, Runs):
        raise ConfigError(f"{who}: runs are those of a sweep; got {type(runs).__name__}; call jaxnn.sweep first")
    chosen = np.flatnonzero(runs.ended_well) if which is None else np.asarray(which)
    if chosen.ndim != 1 or not len(chosen) or chosen.dtype.kind not in "iu":
        raise ConfigError(f"{who}: there are members; got which={which!r}; pass indices of runs")
    if chosen.min() < 0 or chosen.max() >= len(runs):
        raise ConfigError(f"{who}: indices lie in [0, {len(runs)}); got {chosen.tolist()}; see runs.where")
    params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[chosen]), runs.params)
    return Ensemble(runs.objective), params
