"""An objective as a JSON object and back, where it is made of jaxnn's own: a plain `Mlp` and a likelihood."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnn._activations import ACTIVATIONS
from jaxnn._likelihoods import bernoulli, categorical, gaussian
from jaxnn._models import Mlp
from jaxnn._objectives import LogLikelihood
from jaxnn._types import Params

LIKELIHOODS = {"bernoulli": bernoulli, "categorical": categorical, "gaussian": gaussian}


def spec_of(objective: Any, params: Params) -> dict[str, Any] | None:
    """Return model, likelihood and penalty as a JSON object; None for what only its own code can rebuild."""
    model, likelihood = getattr(objective, "model", None), getattr(objective, "likelihood", None)
    if type(objective) is not LogLikelihood or type(model) is not Mlp or model.features is not None:
        return None
    activation = getattr(model.activation, "name", None)
    name = type(likelihood).__name__.lower()
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(params)}
    if ACTIVATIONS.get(str(activation)) != model.activation or len(dtypes) != 1:
        return None
    plain = LIKELIHOODS.get(name)
    same = jax.tree.structure(plain) == jax.tree.structure(likelihood) and all(
        float(a) == float(b) for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(likelihood), strict=True)
    )
    if not same:
        return None
    return {
        "model": {"kind": "Mlp", "sizes": list(model.sizes), "activation": activation, "dtype": dtypes.pop()},
        "likelihood": name,
        "l2": float(objective.l2),
    }


def objective_of(spec: dict[str, Any]) -> tuple[LogLikelihood, Any]:
    """Return the objective that `spec_of` described, and the dtype of its parameters.

    Raises:
      KeyError, TypeError, ValueError: the object is not as it was written.
    """
    model = spec["model"]
    if model["kind"] != "Mlp":
        raise ValueError(f"a model of kind {model['kind']!r}")
    mlp = Mlp(tuple(model["sizes"]), ACTIVATIONS[model["activation"]])
    return LogLikelihood(mlp, LIKELIHOODS[spec["likelihood"]], l2=spec["l2"]), jnp.dtype(model["dtype"])
