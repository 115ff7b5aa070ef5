"""What a fit says about its run: how it ended, with a hint where there is one; data that teach nothing."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._program import Run
from jaxnn._state import State, Status
from jaxnn._types import Params, one_example

_LARGE = 1e3  # features of this size want scaling: gradients grow with them, and curvature with their square


def warn_of_one_class(run: Run, params: Params) -> None:
    """Warn where all training examples are of one class: nothing tells it from the others, so no optimum exists."""
    if run.objective.classes(params, one_example(run.train.x)) is None:
        return
    y = np.asarray(run.train.y)
    if y.min() == y.max():
        warnings.warn(
            f"fit: training data show two classes or more; got only class {y[0]} in {len(y)} examples; the log "
            "likelihood climbs to 0 and kernels grow without end: add examples of another class, or an l2",
            UserWarning,
            stacklevel=3,
        )


def message_of(status: Status, state: State, patience: int | None, run: Run, steps: int) -> str:
    """Return one sentence on how a run ended after so many steps, with a hint where there is one."""
    epoch, best = int(state.epoch), int(state.best.epoch)
    if steps == 0 < epoch and status in (Status.STOPPED_EARLY, Status.MAX_EPOCHS):
        had, more = ("stopped early", "patience") if status == Status.STOPPED_EARLY else ("run all", "max_epochs")
        return f"took no step: the state had {had} after epoch {epoch}; returned epoch {best}; raise {more} to go on"
    rate = float(state.learning_rate)
    hint = f"learning_rate={rate / 10:.3g}" if run.optimizer.is_factory else "a tenth of the learning rate"
    nothing = f"; nothing beat the initial parameters: try {hint}" if best == 0 < epoch and rate != 0 else ""
    if status == Status.STOPPED_EARLY:
        why = f"no gain on the hold-out in {patience} epochs"
        return f"stopped early after epoch {epoch}: {why}; returned epoch {best}{nothing}"
    if status == Status.INTERRUPTED:
        return f"interrupted in epoch {epoch + 1}; returned epoch {best}; go on with fit(..., state=result.state)"
    if status == Status.DIVERGED and epoch == 0:
        return (
            "diverged before the first step: the log likelihood of the initial parameters is not finite; look at them"
        )
    if status == Status.DIVERGED:
        return (
            f"diverged in epoch {epoch}: the log likelihood or a parameter is not finite; "
            f"returned epoch {best}; try {hint}{_scaling_hint(run.train.x)}"
        )
    return f"ran all {epoch} epochs; returned epoch {best}{nothing}"


def _scaling_hint(x: Any) -> str:
    """Return the advice to scale features far from size 1, which no rate makes up for; integers may be tokens."""
    numbers = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    largest = max((float(np.abs(np.asarray(leaf)).max(initial=0)) for leaf in numbers), default=0)
    return f", or scale x, which reaches {largest:.0e}, with jaxnn.data.standardise" if largest > _LARGE else ""
