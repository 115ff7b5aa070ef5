"""The gradient noise scale: how large a batch is before its gradient is mostly signal."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn._types import Params


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NoiseScale:
    """The gradient noise scale of McCandlish et al. (2018, arXiv 1812.06162, appendix A), from gradients of single
    examples; a pytree, to be carried along.

        scale = tr(Σ) / |G|²

    G is the gradient of the expected log likelihood and Σ the covariance of one example's gradient. Both estimates are
    unbiased, so that of |G|² can fall below 0 near an optimum. Their ratio is not: smooth the two apart, as
    `noise_scale(..., previous=...)` does.

    Attributes:
      trace: `float[]`, tr(Σ), smoothed.
      square: `float[]`, |G|², smoothed.
    """

    trace: Any
    square: Any

    @property
    def scale(self) -> Float[Array, "..."]:
        """tr(Σ) / |G|², in examples; infinite where no signal is left, NaN after a single example."""
        signal = self.square > 0
        none = jnp.where(jnp.isnan(self.trace + self.square), jnp.nan, jnp.inf)
        return jnp.where(signal, self.trace / jnp.where(signal, self.square, 1), none)

    @property
    def batch_size(self) -> Float[Array, "..."]:
        """The suggested batch size: the scale, at least 1. A step then gains half of what one on all data would."""
        return jnp.maximum(self.scale, 1)


def noise_of(
    squares: Array, mean: Params, weight: Array, weight_squares: Array, previous: NoiseScale | None, decay: Any
) -> NoiseScale:
    """Return the noise scale from Σ weight_i |g_i|², the mean gradient, Σ weight_i and Σ weight_i²; smoothed with the
    one before.

    With s = Σ weight_i² / (Σ weight_i)², which is 1/N for equal weights, the average over batches of E |g_i|² is
    |G|² + tr Σ, and that of |E g_i|² is |G|² + s tr Σ. One example alone (s = 1) says nothing: NaN, and what was known
    before stands.
    """
    share = weight_squares / (weight * weight)
    of_mean = sum(jnp.vdot(leaf, leaf, precision="highest") for leaf in jax.tree.leaves(mean))
    trace = jnp.where(share < 1, (squares / weight - of_mean) / jnp.where(share < 1, 1 - share, 1), jnp.nan)
    now = NoiseScale(trace, squares / weight - trace)
    if previous is None:
        return now

    def smoothed(old: Any, new: Array) -> Array:
        mixed = decay * old + (1 - decay) * new
        return jnp.where(jnp.isnan(old), new, jnp.where(jnp.isnan(new), old, mixed))

    return jax.tree.map(smoothed, previous, now)
