"""What is proven at given parameters, by the certificate that fits: from the Hessian, or from the penalty."""

from typing import Any

import jax
import numpy as np

from jaxnn._types import Params
from jaxnn.optimum._certificate import Certificate
from jaxnn.optimum._cholesky import ascend_by_cholesky
from jaxnn.optimum._optimum import history_of, rows_for
from jaxnn.optimum._penalised import penalised_certificate
from jaxnn.optimum._problem import Problem

# Without a penalty only a Cholesky factor can certify: up to so many parameters it is made.
DENSE_UNPENALISED = 2_000
CHUNK_NUMBERS = 2**22  # numbers of a chunk of rows in float64


def certify(problem: Problem, params: Params, tolerance: float) -> tuple[Params, Certificate]:
    """Return the parameters, with a penalty those of best bias, and what is proven there."""
    (layer,) = params
    kernel = np.asarray(layer.kernel).T
    with jax.enable_x64(True):
        if problem.l2 == 0 and problem.contrasts * (kernel.shape[1] + 1) <= DENSE_UNPENALISED:
            return params, from_hessian(problem, kernel, layer.bias, tolerance, 0)[2]
        bias, seen = from_penalty(problem, kernel, layer.bias)
        return problem.params_of(kernel, bias), seen


def from_hessian(problem: Problem, kernel: Any, bias: Any, tolerance: float, max_steps: int) -> tuple:
    """Return kernel, bias, certificate, steps and history of `ascend_by_cholesky`."""
    kernel, bias, seen, steps, history = jax.device_get(
        ascend_by_cholesky(
            problem.likelihood,
            np.asarray(kernel, np.float64),
            np.asarray(bias, np.float64),
            *(problem.x, problem.y, problem.weight, np.float64(problem.l2), np.float64(tolerance)),
            max_steps,
            dtype=problem.dtype,
            rows=rows_for(max_steps),
            chunk=max(1, CHUNK_NUMBERS // (problem.contrasts * max(kernel.shape))),
        )
    )
    return kernel, bias, Certificate._make(map(float, seen)), int(steps), history_of(history[0], history[1], steps)


def from_penalty(problem: Problem, kernel: Any, bias: Any) -> tuple[Any, Certificate]:
    """Return the best bias for a kernel, or that given if there is none, and `penalised_certificate`."""
    x, y, weight, l2 = problem.x, problem.y, problem.weight, np.float64(problem.l2)
    chunk = max(1, CHUNK_NUMBERS // (kernel.shape[1] + 1))
    best, seen = jax.device_get(penalised_certificate(problem.likelihood, kernel, bias, x, y, weight, l2, chunk=chunk))
    return (best if np.isfinite(best).all() else bias), Certificate._make(map(float, seen))
