"""What the history can tell of the gradients of single examples: how noisy they are, and how their norms spread."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn._types import Batch, Params, num_examples
from jaxnn.per_example._measures import NORMS_AND_NOISE, measured

SAMPLE = 2048  # examples looked at: all of a small set, few of a large one
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
_MEMORY = 2**28  # bytes


def watched(objective: Any, params: Params, train: Batch) -> Float[Array, " 7"]:
    """Return tr(Σ) and |G|² of the noise scale, and quantiles of |g_i|, over training examples spread evenly."""
    n = num_examples(train)
    rows = np.linspace(0, n - 1, min(n, SAMPLE)).round().astype(np.int32)
    sample = train if len(rows) == n else Batch(*(jax.tree.map(lambda a: a[rows], part) for part in train))
    norms, noise = measured(
        objective, params, sample, shared=(None, 0.0), who="watch_gradients", measure=NORMS_AND_NOISE, memory=_MEMORY
    )
    if sample.weight is not None:
        norms = jnp.where(sample.weight > 0, norms, jnp.nan)
    spread = jnp.nanquantile(norms, jnp.asarray(QUANTILES, norms.dtype))
    return jnp.concatenate([jnp.stack([noise.trace, noise.square]), spread])
