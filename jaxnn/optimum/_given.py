"""What the methods are given: checked on the host before anything is compiled, or refused."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn._checks import check_integer, check_positive, is_traced
from jaxnn._door import checked_batch
from jaxnn._errors import ConfigError, DtypeError, brief
from jaxnn._models import Mlp
from jaxnn._objectives import LogLikelihood
from jaxnn._types import Batch, Params, as_jax
from jaxnn.optimum._curvature import KNOWN


class Given(NamedTuple):
    """Objective, its numbers in float64, parameters and batch as arrays, all checked."""

    objective: Any
    params: Params
    batch: Batch


def checked(who: str, objective: Any, params: Params, train: Any, tolerance: Any, max_steps: Any) -> Given:
    """Return what a method was given as arrays; raise for what it cannot use."""
    if is_traced(objective, params, train, tolerance, max_steps):
        raise ConfigError(
            f"{who}: what is proven is decided on the host; got traced values; call it outside of jit and vmap"
        )
    check_positive(who, "tolerance", tolerance)
    check_integer(who, "max_steps", max_steps, at_least=0, at_most=100_000)
    batch = checked_batch(who, objective, params, train)  # and the parameters
    params = jax.tree.map(as_jax, params)
    dtypes = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(params)})
    if dtypes not in (["float32"], ["float64"]):
        raise DtypeError(
            f"{who}: parameters are all float32, or all float64; got {' and '.join(dtypes)}; start from "
            "model.init(key, 'float32') and cast the result"
        )
    return Given(jax.tree.map(lambda leaf: np.float64(leaf), objective), params, batch)


def in_own_dtype(given: Given) -> Given:
    """Return the same with the objective's numbers in the dtype of the parameters, as a climb needs them."""
    dtype = jax.tree.leaves(given.params)[0].dtype
    return given._replace(objective=jax.tree.map(dtype.type, given.objective))


def check_outputs(who: str, objective: Any) -> None:
    """Raise `ConfigError` unless the curvature in the outputs of a model is known: of a subclass it is not."""
    if type(objective) is not LogLikelihood or type(objective.likelihood) not in KNOWN:
        got = brief(getattr(objective, "likelihood", objective))
        raise ConfigError(
            f"{who}: the curvature in the outputs is known for LogLikelihood with bernoulli, categorical or gaussian; "
            f"got {got}; use jaxnn.optimum.lbfgs, which asks for gradients only"
        )


def is_linear(objective: Any) -> bool:
    """Return whether the outputs are linear in the parameters, and the likelihood one of those with a certificate."""
    known = type(objective) is LogLikelihood and type(objective.likelihood) in KNOWN
    return known and type(objective.model) is Mlp and len(objective.model.sizes) == 2
