"""The verdict on where a method ended, in a status and in words."""

import numpy as np

from jaxnn._likelihoods import Gaussian
from jaxnn._state import Status
from jaxnn._types import Params
from jaxnn.optimum._certificate import SAFE, Certificate
from jaxnn.optimum._optimum import INFINITE, Optimum
from jaxnn.optimum._problem import Problem


def judged(
    problem: Problem,
    params: Params,
    tolerance: float,
    max_steps: int,
    seen: Certificate,
    steps: int,
    evaluations: int,
    history: dict[str, np.ndarray],
) -> Optimum:
    """Return the optimum of a linear model with what is proven about it; nothing is where a class is absent."""
    absent, l2, margin, ratio = problem.absent, problem.l2, seen.margin, seen.ratio
    gap = seen.gap if absent is None else INFINITE
    is_regression = isinstance(problem.likelihood, Gaussian)
    if absent is not None:
        status = Status.DIVERGED
        message = (
            f"there is no maximum: class {absent} has no example, so its bias, which is not penalised, would fall for "
            "ever; leave that class out, or add examples of it"
        )
    elif not np.isfinite(seen.value):
        status, gap = Status.DIVERGED, INFINITE
        message = "the objective is not finite; start elsewhere, or look at the size of the features"
    elif l2 == 0 and margin > 0:
        status, gap = Status.DIVERGED, INFINITE
        message = (
            "there is no maximum: the classes are separated (every example is on its side, with a margin of "
            f"{margin:.3g} or more), so larger parameters are always better; add a penalty, l2=1e-4 say"
        )
    elif gap <= tolerance:
        status = Status.CONVERGED
        message = f"converged: the maximum is proven to be at most {gap:.2g} nats per example higher; {steps} steps"
    else:
        status = Status.MAX_EPOCHS if steps >= max_steps else Status.STOPPED_EARLY
        how = f"took all {max_steps} steps"
        if steps < max_steps:
            how = f"stopped after {steps} steps without a further gain"
        if gap < INFINITE:
            why = f"the maximum is proven to be at most {gap:.2g} nats per example higher, not {tolerance:.2g}"
            what = "allow more steps, or parameters in float64" if steps >= max_steps else "use parameters in float64"
        elif steps == 0 < max_steps:
            why, what = "nothing is proven, and no step was found", "start from model.init(0), or look at the data"
        elif l2 == 0 and not np.isfinite(ratio):
            why = "nothing is proven: H is singular to rounding, or was not factored"
            classes = "" if is_regression else "the classes are separated, at least in part, or "
            what = f"perhaps {classes}features nearly repeat one another: add a penalty, l2=1e-4 say, or try 'cholesky'"
        elif l2 == 0:
            why = f"no maximum is proven to exist (the ratio of _certificate is {ratio:.2g}, it takes {SAFE})"
            what = "it is far, or the classes are separated, at least in part: take more steps, or add a penalty"
        else:
            why = "nothing is proven so far"
            what = "allow more steps" if steps >= max_steps else "try the other solver, or a larger l2"
        message = f"{how}; {why}; {what}"
    return Optimum(
        params=params,
        value=seen.value,
        status=status,
        message=message,
        gap=gap,
        gradient_norm=seen.gradient_norm,
        decrement=seen.decrement,
        steps=steps,
        evaluations=evaluations,
        history=history,
    )
