"""Newton's method for linear models, with a proof of how far the maximum can be."""

from typing import Any

import jax
import numpy as np

from jaxnn._checks import check_choice
from jaxnn._errors import ConfigError
from jaxnn._types import Params
from jaxnn.optimum._certify import DENSE_UNPENALISED, from_hessian, from_penalty
from jaxnn.optimum._conjugate import ascend_by_conjugate_gradients
from jaxnn.optimum._given import check_outputs, checked, is_linear
from jaxnn.optimum._optimum import Optimum, rows_for
from jaxnn.optimum._problem import Problem, problem_of
from jaxnn.optimum._verdict import judged

WHO = "optimum.newton"
SOLVERS = ("auto", "cholesky", "cg")
DENSE = 128  # up to so many parameters a Cholesky factor is quicker than products with H
WIDE_BYTES = 2**31  # passes in float64 are tried where x takes no more


def newton(
    objective: Any,
    params: Params,
    train: Any,
    *,
    tolerance: float = 1e-9,
    max_steps: int = 100,
    solver: str = "auto",
) -> Optimum:
    """Climb to the maximum of a linear model by Newton's method, and prove how near it is.

        w <- w + t H⁻¹ ∇,        t the first of 1, ½, ¼ ... that raises the objective enough

    or, with Cholesky factors, where 1 does, the last of 1, 1.5, 1.5² ... that raises it further.

    For logistic and softmax regression this is iteratively reweighted least squares; for Gaussian targets one step is
    exact. The objective is concave, and `CONVERGED` is claimed only where a maximum is proven to exist within
    `tolerance`: the proof is in `jaxnn.optimum._certificate`. Where classes are separated and l2 = 0 there is none, and
    it never is.

    Args:
      objective: `LogLikelihood` of an `Mlp` without hidden layers and bernoulli, categorical or gaussian.
      params: where to start, float32 or float64; for these models `model.init(key)`, zeros, is as good as any.
      train: `Batch` or `Dataset`, all of it read in every step; weights count.
      tolerance: largest proven gap to the maximum, nats per example, > 0.
      max_steps: Newton steps, >= 0; beyond 63 another power of two recompiles.
      solver: "cholesky" factors the Hessian, in float64: N P² operations a step. "cg" solves by conjugate gradients, in
        the dtype of the parameters where that will do: some tens of passes over the data, for any P; it can certify
        only with l2 > 0. "auto" picks by the number of parameters, and "cholesky" more readily without a penalty.

    Returns:
      An `Optimum`.

    Raises:
      ConfigError: another model or likelihood, an option out of range, traced values.
      ShapeError, DtypeError, LabelError, NonFiniteError: data or parameters that do not fit.

    Notes:
      Directions in which no output changes beyond rounding (constant or repeated features without a penalty, one vector
      added to all classes) are left where they start, and the proof is about all others. With a penalty kernels of a
      softmax have mean 0 over the classes. l2 and the data, cast to the dtype of the parameters, are taken as exact.

    Example:
      >>> import jaxnn
      >>> (train,) = jaxnn.data.standardise(jaxnn.data.load("breast_cancer"))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(30, 1), jaxnn.bernoulli, l2=1e-3)
      >>> found = jaxnn.optimum.newton(objective, objective.model.init(0), train)
      >>> str(found.status), found.gap <= 1e-9, round(found.value, 6)
      ('converged', True, -0.059828)

    References: Böhning 1992, "Multinomial logistic regression algorithm"; Nocedal & Wright 2006, section 7.1.
    """
    check_choice(WHO, "solver", solver, SOLVERS)
    check_outputs(WHO, objective)
    if not is_linear(objective):
        raise ConfigError(
            f"{WHO}: the model is linear in its parameters; got {objective.model!r}; use jaxnn.optimum.gauss_newton or "
            "lbfgs for networks"
        )
    given = checked(WHO, objective, params, train, tolerance, max_steps)
    problem = problem_of(WHO, given)
    if problem.absent is not None:
        max_steps = 0
    if solver == "auto":
        num_params = problem.contrasts * (objective.model.sizes[0] + 1)
        solver = "cholesky" if num_params <= (DENSE if problem.l2 > 0 else DENSE_UNPENALISED) else "cg"
    with jax.enable_x64(True):
        solve = _by_cholesky if solver == "cholesky" else _by_conjugate_gradients
        return solve(problem, given.params, float(tolerance), max_steps)


def _by_cholesky(problem: Problem, params: Params, tolerance: float, max_steps: int) -> Optimum:
    (layer,) = params
    kernel, bias, seen, steps, history = from_hessian(
        problem, np.asarray(layer.kernel).T, layer.bias, tolerance, max_steps
    )
    return judged(problem, problem.params_of(kernel, bias), tolerance, max_steps, seen, steps, 1 + steps, history)


def _by_conjugate_gradients(problem: Problem, params: Params, tolerance: float, max_steps: int) -> Optimum:
    (layer,) = params
    kernel, bias, x = np.asarray(layer.kernel).T, np.asarray(layer.bias), problem.x
    steps, evaluations, values, norms = 0, 0, np.empty(0), np.empty(0)
    only_once = x.dtype == np.float64 or x.size * 8 > WIDE_BYTES
    # In float64 only where rounding is what keeps the proof away.
    for in_float64 in (False, True):
        kernel, bias, more, passes, v, n = jax.device_get(
            ascend_by_conjugate_gradients(
                problem.likelihood,
                np.asarray(kernel, np.float64),
                np.asarray(bias, np.float64),
                x.astype(np.float64) if in_float64 else x,
                *(problem.y, problem.weight, np.float64(problem.l2), np.float64(tolerance), max_steps - steps),
                rows=rows_for(max_steps),
            )
        )
        kept = slice(1 if len(values) else 0, int(more) + 1)
        values, norms = np.r_[values, v[kept]], np.r_[norms, n[kept]]
        steps, evaluations = steps + int(more), evaluations + int(passes) + 2
        rounded = kernel.astype(problem.dtype)
        fitted, seen = from_penalty(problem, rounded, bias.astype(problem.dtype))
        done = seen.gap <= tolerance or problem.l2 == 0 or problem.absent is not None or steps >= max_steps
        if done or in_float64 or only_once:
            break
    end, history = problem.params_of(rounded, fitted), {"value": values, "gradient_norm": norms}
    return judged(problem, end, tolerance, max_steps, seen, steps, evaluations, history)
