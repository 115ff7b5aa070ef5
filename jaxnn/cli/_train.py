"""`jaxnn train`: from options to a run folder."""

import warnings

from jaxnn import data
from jaxnn._evaluate import evaluate
from jaxnn._state import Status
from jaxnn.cli import _run_folder
from jaxnn.cli._build import build
from jaxnn.cli._config import TrainConfig
from jaxnn.cli._screen import Screen, working

EXIT_CODES = {Status.DIVERGED: 1, Status.INTERRUPTED: 130}


def train(config: TrainConfig) -> int:
    """Train, write the run folder, say where it is; return the exit code."""
    screen = Screen(config.quiet, config.json)
    with working(f"reading {config.data}", mention=not config.quiet):
        problem = build(config)
        params = problem.initial_params()
    folder = _run_folder.claim(config)
    try:
        screen.problem(problem, params)
        with screen.progress(config.epochs) as show, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="diverged", category=RuntimeWarning)  # the screen says it
            result = problem.learn(params, progress=show)
    except BaseException:
        _run_folder.give_up(folder)
        raise
    _run_folder.clear(folder)
    _run_folder.write_config(folder, problem)
    _run_folder.write_result(folder, result)

    with working("evaluating", mention=not config.quiet):
        evaluations = {name: evaluate(problem.objective, result.params, part) for name, part in problem.parts.items()}
    metrics = _run_folder.write_metrics(folder, result, evaluations)
    screen.result(result, evaluations)
    with working("drawing", mention=not config.quiet):
        _run_folder.draw(folder, problem, result, evaluations["test"])
    screen.written(folder, metrics, from_file=config.data not in data.names())
    return EXIT_CODES.get(result.status, 0)
