"""A log likelihood of two numbers, for the experiments that climb it: a kind of iris, from two measures of its petals.

g(w) = 1/N Σ_n log σ(±w·x_n),    + where y_n is the third kind, - where it is another
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn


def log_likelihood() -> Callable[[jax.Array], jax.Array]:
    """Return g(w), in nats per example."""
    iris = jaxnn.data.load("iris").batch
    x = np.asarray(iris.x, float)[:, 2:]  # petals
    batch = jaxnn.Batch((x - x.mean(0)) / x.std(0), np.asarray(iris.y == 2).astype(int))

    def log_prob(w: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        return jax.nn.log_sigmoid(jnp.where(y == 1, 1, -1) * (w @ x))

    objective = jaxnn.from_function(log_prob)

    def g(w: jax.Array) -> jax.Array:
        return objective(w, batch)

    return g
