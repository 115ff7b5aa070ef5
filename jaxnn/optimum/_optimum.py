"""What a full-batch method returns: parameters, how it ended, and what is proven about them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxnn._state import Status

INFINITE = float("inf")


@dataclass(frozen=True)
class Optimum:
    """Parameters, and how far from the maximum they can be.

    Attributes:
      params: as given, in their dtype.
      value: the penalised objective at params, nats per example, computed in float64 if the model is linear.
      status: `CONVERGED` only with a certificate: a maximum exists and is at most `gap` above. `DIVERGED`:
        there is no maximum, or the objective is not finite. `STOPPED_EARLY`: no further gain, too little proven.
        `MAX_EPOCHS`: out of steps.
      message: the same in words, and what to do.
      gap: upper bound on max - objective(params), nats per example, rounding counted; infinite where nothing is proven.
        It can be smaller than the rounding of `value`.
      gradient_norm: |∇ objective|, Euclidean.
      decrement: √(∇ᵀ H⁻¹ ∇), the Newton decrement, √nats, or an upper bound on it (`solver="cg"`); NaN where there is
        none, as for networks.
      steps: how many were taken.
      evaluations: passes over the data, a product with the Hessian counted as one.
      history: `value` and `gradient_norm`, float64[steps + 1] each, the start first.

    Example:
      >>> import jaxnn
      >>> separated = jaxnn.data.dataset([[-1.0], [1.0]], [0, 1], num_classes=2)
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(1, 1), jaxnn.bernoulli)
      >>> found = jaxnn.optimum.newton(objective, objective.model.init(0), separated)
      >>> str(found.status), found.gap, found.message[:48]
      ('diverged', inf, 'there is no maximum: the classes are separated (')
    """

    params: Any
    value: float
    status: Status
    message: str
    gap: float
    gradient_norm: float
    decrement: float
    steps: int
    evaluations: int
    history: dict[str, np.ndarray]

    @property
    def converged(self) -> bool:
        """Whether a maximum is certified to be at most `gap` above."""
        return self.status == Status.CONVERGED


def rows_for(max_steps: int) -> int:
    """Return the rows a program keeps for its history: a power of two, so that few numbers of steps recompile."""
    return max(64, 1 << max_steps.bit_length())


def history_of(values: Any, norms: Any, steps: Any) -> dict[str, np.ndarray]:
    """Return the rows reached, of columns as long as the run may be."""
    columns = {"value": values, "gradient_norm": norms}
    return {name: np.asarray(column, np.float64)[: steps + 1] for name, column in columns.items()}
