"""The problem of a linear model as plain arrays: what the solvers and the certificates read."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import check_finite
from jaxnn._likelihoods import Categorical, Gaussian
from jaxnn._models import Dense
from jaxnn._types import Batch, Params, as_jax
from jaxnn.optimum._curvature import basis_of
from jaxnn.optimum._given import Given


class Problem(NamedTuple):
    """A linear model's data.

    Attributes:
      likelihood: with its numbers in float64.
      l2: as given, not rounded to float32.
      dtype: of the parameters.
      x: `dtype[N, D]`, or the features of x.
      y: labels `int32[N]`, or targets `dtype[N, K]`.
      weight: `float64[N]`, of sum 1.
      contrasts: M, outputs that matter: K - 1 of a softmax, else K.
      absent: the first class without an example, whose bias would fall for ever; None where there is none.
    """

    likelihood: Any
    l2: float
    dtype: Any
    x: Any
    y: Any
    weight: np.ndarray
    contrasts: int
    absent: int | None

    def params_of(self, kernel: Any, bias: Any) -> Params:
        """Return the parameters of a kernel [K, D] and a bias [K] that the dtype can hold."""
        return (Dense(*(as_jax(np.asarray(a), self.dtype) for a in (np.asarray(kernel).T, bias))),)


def problem_of(who: str, given: Given) -> Problem:
    """Return the problem; raise `NonFiniteError` where a feature is not finite."""
    objective, (layer,), batch = given
    likelihood, num_outputs = objective.likelihood, layer.bias.shape[0]
    weight = np.ones(len(batch.y)) if batch.weight is None else np.asarray(batch.weight, np.float64)
    x, y, absent = batch.x, batch.y, None
    if objective.model.features is not None:
        x = _mapped(objective.model.features, x, layer.kernel.dtype)
        check_finite(who, "features(x)", x)
    if isinstance(likelihood, Gaussian):
        y = jnp.reshape(y, (y.shape[0], -1))
    else:
        absent = _absent(batch, num_outputs if isinstance(likelihood, Categorical) else 2)
    contrasts = basis_of(isinstance(likelihood, Categorical), num_outputs).shape[1]
    total = weight / weight.max()  # first: the sum of finite weights need not be finite
    total = total / total.sum()
    return Problem(likelihood, float(objective.l2), layer.kernel.dtype, x, y, total, contrasts, absent)


@partial(jax.jit, static_argnums=(0, 2))
def _mapped(features: Any, x: Any, dtype: Any) -> Any:
    return jax.vmap(features)(x.astype(dtype)).astype(dtype)


def _absent(batch: Batch, num_classes: int) -> int | None:
    y = np.asarray(batch.y)
    counts = np.bincount(y if batch.weight is None else y[np.asarray(batch.weight) > 0], minlength=num_classes)
    return int(np.argmin(counts)) if counts.min() == 0 else None
