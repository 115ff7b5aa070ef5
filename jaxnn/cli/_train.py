"""`jaxnn train`: from options to a run folder."""

import warnings

from jaxnn._evaluate import evaluate
from jaxnn._state import Status
from jaxnn.cli import _run_folder
from jaxnn.cli._build import build
from jaxnn.cli._config import TrainConfig
from jaxnn.cli._screen import Screen

EXIT_CODES = {Status.DIVERGED: 1, Status.INTERRUPTED: 130}


def train(config: TrainConfig) -> int:
    """Train, write the run folder, say where it is; return the exit code."""
    screen = Screen(config.quiet)
    problem = build(config)
    params = problem.initial_params()
    folder = _run_folder.claim(config)
    _run_folder.write_config(folder, problem)
    screen.problem(problem, params)

    with screen.progress(config.epochs) as show, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="diverged", category=RuntimeWarning)  # the screen says it
        result = problem.learn(params, progress=show)
    _run_folder.write_result(folder, result)

    evaluations = {name: evaluate(problem.objective, result.params, part) for name, part in problem.parts.items()}
    _run_folder.write_metrics(folder, result, evaluations)
    screen.result(result, evaluations)
    _run_folder.draw(folder, problem, result, evaluations["test"])
    screen.written(folder, _run_folder.written(folder))
    return EXIT_CODES.get(result.status, 0)
