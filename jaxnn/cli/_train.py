"""`jaxnn train`: from options to a run folder."""

import warnings

from jaxnn import data
from jaxnn._evaluate import evaluate
from jaxnn._progress import Progress
from jaxnn._run_files import is_run
from jaxnn._state import Status
from jaxnn.cli import _run_folder
from jaxnn.cli._build import build
from jaxnn.cli._draw import draw
from jaxnn.cli._going_on import reopen
from jaxnn.cli._learn_config import TrainConfig
from jaxnn.cli._screen import Screen, working
from jaxnn.cli._signals import SIGNALS


def train(config: TrainConfig) -> int:
    """Train, write the run folder, say where it is; return the exit code."""
    earlier = folder = None
    if config.resume is not None:
        folder, config, earlier = reopen(config)
    screen = Screen(config.quiet, config.json)
    with working(f"reading {config.data}", mention=not config.quiet):
        problem = build(config)
        config, params = problem.config, problem.initial_params()
    if folder is None:
        folder = _run_folder.claim(config)
    with _run_folder.alone(folder):
        checkpoints = _run_folder.checkpoints_in(
            folder, every=config.save_every, resume=earlier is not None, on_error="warn"
        )
        begun = False
        screen.problem(problem, params, checkpoints if earlier is not None else None)

        def begin_and_show(progress: Progress) -> None:
            nonlocal begun
            if not begun:
                if progress.status == str(Status.INTERRUPTED) and earlier is None and is_run(folder):
                    raise KeyboardInterrupt  # nothing was learnt yet that would be worth the run to be replaced
                _run_folder.begin(folder, problem, earlier)
                begun = True
                SIGNALS.hold()  # from here on SIGTERM comes from `fit`, once the run is saved
            show(progress)

        try:
            with screen.progress(problem.max_epochs) as show, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="diverged", category=RuntimeWarning)  # the screen says it
                result = problem.learn(params, progress=begin_and_show, checkpoint=checkpoints)
        except BaseException:
            _run_folder.give_up(folder)
            raise
        finally:
            SIGNALS.let_go()
        _run_folder.write_result(folder, problem, result)
        metrics = _run_folder.write_metrics(folder, result, {})
        evaluations = {}
        if not SIGNALS.terminated:  # then there is no time to lose
            with working("evaluating", mention=not config.quiet):
                evaluations = {
                    name: evaluate(problem.objective, result.params, part) for name, part in problem.parts.items()
                }
            metrics = _run_folder.write_metrics(folder, result, evaluations)
        screen.result(result, evaluations)
        if not SIGNALS.terminated:
            with working("drawing", mention=not config.quiet):
                draw(folder, problem, result, evaluations["test"])
        screen.written(folder, metrics, from_file=config.data not in data.names(), ended=result.status)
    if result.status == Status.INTERRUPTED:
        return SIGNALS.exit_code
    return 1 if result.status == Status.DIVERGED else 0
