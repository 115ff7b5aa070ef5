"""One step of gradient ascent: the gradient of a batch's objective, and what the optimiser makes of it.

    w <- w + update(∇ objective(w, batch))

Which batch it reads, and what is measured when, is for `_program` to say.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxnn._aggregates import Plain
from jaxnn._objectives import weighted_log_likelihood, weighted_total
from jaxnn._optimizer import Optimizer
from jaxnn._state import State
from jaxnn._types import Batch, Params
from jaxnn.per_example._factors import make_factors


def step(
    objective: Any,
    optimizer: Optimizer,
    aggregate: Any,
    state: State,
    batch: Batch,
    *,
    may_be_empty: bool,
    report: bool = False,
) -> tuple[tuple[Params, Any], tuple[Array, Any], Any]:
    """Return the next (params, opt_state), the batch's sums of log P and of weight, and, if asked, the two norms.

    The mean and the sum are the gradient of the weighted sum of vmap(log_prob), with the weights inside: applied after
    vmap(grad) they would make XLA hold one gradient an example (257 MiB against 4 for tied layers). Any other aggregate
    is given the gradients in factors; `batch` then is `without_absent`.
    """
    plain = isinstance(aggregate, Plain)

    def mean(total, weight):
        # A batch without weight has nothing to say: any finite value will do here, the step is undone below.
        return total / (jnp.where(weight > 0, weight, 1) if may_be_empty else weight)

    def value(params):
        total, weight = weighted_log_likelihood(objective, params, batch)
        scale = weight if plain and aggregate.name == "sum" else 1
        return scale * (mean(total, weight) - objective.penalty(params)), (total, weight)

    if plain:
        (v, (total, weight)), gradient = jax.value_and_grad(value, has_aux=True)(state.params)
    else:
        factors = make_factors(objective, state.params, batch)
        total, weight = weighted_total(factors.log_likelihoods, batch.weight)
        penalty, slope = jax.value_and_grad(objective.penalty)(state.params)
        v = mean(total, weight) - penalty
        gradient = jax.tree.map(lambda g, s: g.astype(s.dtype) - s, aggregate(factors), slope)
    update, opt_state = optimizer.update(
        gradient, state.opt_state, state.params, state.learning_rate, v, lambda p: value(p)[0]
    )
    params = jax.tree.map(jnp.add, state.params, update)
    if may_be_empty:
        moved = weight > 0
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(moved, new, old), (params, opt_state), (state.params, state.opt_state)
        )
    norms = None
    if report:
        size = norm(state.params)
        norms = norm(gradient), jnp.where(size > 0, norm(update) / size, jnp.nan)
    return (params, opt_state), (total, weight), norms


def norm(tree: Params) -> Array:
    """Return the Euclidean norm of all leaves together: a dot product a leaf, so no kernel to compile and no copy."""
    leaves = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(jnp.vdot(leaf, leaf, precision="highest") for leaf in leaves))
