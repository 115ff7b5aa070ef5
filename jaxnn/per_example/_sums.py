"""What is made of all gradients together: sums, plain, weighted or clipped, and moments."""

from typing import Any

from jaxnn._types import Params, num_examples
from jaxnn.per_example._factors import Clipping
from jaxnn.per_example._given import (
    MEMORY,
    check_smoothing,
    checked,
    checked_direction,
    checked_max_norm,
    checked_memory,
    checked_numbers,
)
from jaxnn.per_example._measures import CLIPPED, MEAN, NOISE, SECOND_MOMENT, VARIANCE, WEIGHTED, ask, measured
from jaxnn.per_example._noise import NoiseScale


def weighted_sum(objective: Any, params: Params, batch: Any, c: Any, *, memory: int = MEMORY) -> Params:
    """Return Σ_i c_i ∇ log P(y_i | x_i; w), a tree like the parameters.

    Args:
      objective, params, batch: as for `factors`. Weights of the batch are not looked at, but absent examples are zero.
      c: `float[N]`, of any sign. A gradient that is not finite makes the sum so, also where its c is 0.
      memory: bytes for what is held of each example; more is done in chunks.

    Raises:
      ShapeError: not one number an example.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.ones((3, 2)), jnp.array([0, 1, 1]))
      >>> (layer,) = jaxnn.per_example.weighted_sum(objective, objective.model.init(0), batch, jnp.array([2.0, 1, 1]))
      >>> layer.bias.tolist()  # 2 (0.5, -0.5) + 2 (-0.5, 0.5)
      [0.0, 0.0]
    """
    who = "weighted_sum"
    memory = checked_memory(who, memory)
    objective, params, batch = checked(who, objective, params, batch)
    c = checked_numbers(who, c, num_examples(batch))
    return measured(objective, params, batch, c, who=who, measure=WEIGHTED, memory=memory)


def clipped_sum(
    objective: Any, params: Params, batch: Any, max_norm: Any, *, memory: int = MEMORY
) -> tuple[Params, Clipping]:
    """Return the sum of the gradients, each clipped to a norm of at most C = max_norm, and what was clipped.

        Σ_i weight_i g_i min(1, C / |g_i|),   g_i = ∇ log P(y_i | x_i; w)

    What holds, up to rounding: every clipped norm is at most C (1 + 4 eps); its direction is kept; with weights of 1,
    exchanging one example moves the sum by at most 2 C.

    | where | what happens |
    |---|---|
    | C = 0 | the sum is zero, every example with a gradient counts as clipped |
    | C = inf | nothing is clipped: the plain weighted sum |
    | a zero gradient | stays zero, is not clipped (rows of a sequence that cancel are zero to rounding only) |
    | a gradient with NaN or infinity, or longer than 1e19 | contributes zero, is counted in `non_finite` |
    | a gradient shorter than 1e-19 | its norm is rounded to 0, so it passes as it is |
    | weight 0, padding | contributes zero, is not counted |
    | all weights 0 | the sum is zero |

    Args:
      objective, params, batch: as for `factors`.
      max_norm: C >= 0, or infinity; can be traced, and a new value does not recompile.
      memory: bytes for what is held of each example; more is done in chunks.

    Returns:
      The sum, a tree like the parameters, and a `Clipping`: norms before it, counts of clipped and of not finite.

    Raises:
      ConfigError: max_norm no number >= 0.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.array([[1.0, 0], [9, 9]]), jnp.array([0, 1]))
      >>> total, clipping = jaxnn.per_example.clipped_sum(objective, objective.model.init(0), batch, 1.0)
      >>> clipping.norms.tolist(), clipping.clipped.item()
      ([1.0, 9.0277...], 1)
    """
    max_norm = checked_max_norm("clipped_sum", max_norm)
    return ask("clipped_sum", CLIPPED, objective, params, batch, memory, max_norm)


def mean(objective: Any, params: Params, batch: Any, *, memory: int = MEMORY) -> Params:
    """Return Σ_i weight_i g_i / Σ_i weight_i, the plain gradient without the penalty; NaN where all weights are 0."""
    return ask("mean", MEAN, objective, params, batch, memory)


def second_moment(objective: Any, params: Params, batch: Any, *, memory: int = MEMORY) -> Params:
    """Return Σ_i weight_i g_i² / Σ_i weight_i, elementwise: the diagonal of the empirical Fisher matrix.

    Float32 or wider.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.ones((3, 2)), jnp.array([0, 1, 1]))
      >>> jaxnn.per_example.second_moment(objective, objective.model.init(0), batch)[0].bias.tolist()
      [0.25, 0.25]
    """
    return ask("second_moment", SECOND_MOMENT, objective, params, batch, memory)


def variance(objective: Any, params: Params, batch: Any, *, memory: int = MEMORY) -> Params:
    """Return the variance of every component of the gradient over the batch, E g² - (E g)², float32 or wider."""
    return ask("variance", VARIANCE, objective, params, batch, memory)


def fisher_vector_product(
    objective: Any, params: Params, batch: Any, direction: Params, *, memory: int = MEMORY
) -> Params:
    """Return F v = Σ_i weight_i g_i <g_i, v> / Σ_i weight_i for a direction v; one backward pass, no second one.

    F is the empirical Fisher matrix: the labels are those given, not drawn from the model.
    """
    who = "fisher_vector_product"
    memory = checked_memory(who, memory)
    objective, params, batch = checked(who, objective, params, batch)
    direction = checked_direction(who, params, direction)
    return measured(objective, params, batch, shared=direction, who=who, measure=MEAN, memory=memory)


def noise_scale(
    objective: Any,
    params: Params,
    batch: Any,
    previous: NoiseScale | None = None,
    decay: float = 0.9,
    *,
    memory: int = MEMORY,
) -> NoiseScale:
    """Return the gradient noise scale tr(Σ) / |G|²: the batch size at which noise and signal are even.

    From gradients of single examples, which estimate it with the least variance (Gray et al. 2024, arXiv 2411.00999).

    Args:
      objective, params, batch: as for `factors`; at least two examples.
      previous: of the batches before: the two parts are smoothed, each by itself.
      decay: the share of what was known before, in [0, 1].
      memory: bytes for what is held of each example; more is done in chunks.

    Returns:
      A `NoiseScale`: trace, square, and from them scale and batch_size.

    Example:
      >>> import jaxnn
      >>> iris = jaxnn.data.load("iris")
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> noise = jaxnn.per_example.noise_scale(objective, objective.model.init(0), iris)
      >>> round(noise.scale.item(), 1)
      40.6
    """
    check_smoothing("noise_scale", previous, decay)
    return ask("noise_scale", NOISE, objective, params, batch, memory, (previous, decay))
