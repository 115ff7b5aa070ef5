"""`jaxnn sweep`: from options to many runs, a verdict, a table and pictures in a folder."""

import signal
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn import plotting
from jaxnn._state import Status
from jaxnn._sweep._progress import SweepProgress
from jaxnn._sweep._runs import Runs
from jaxnn._sweep._verdict import Verdict, verdict
from jaxnn.cli import _run_folder
from jaxnn.cli._draw import draw_all
from jaxnn.cli._json import to_json, write_json
from jaxnn.cli._learn_config import SweepConfig
from jaxnn.cli._output import complain, say, write
from jaxnn.cli._screen import working
from jaxnn.cli._signals import SIGNALS
from jaxnn.cli._sweep_screen import SweepScreen
from jaxnn.cli._sweep_task import SweepTask, build

WHO = "sweep"
RUNS, ABOUT, PICTURES = "runs.csv", "sweep.json", ("sweep.png", "sweep_curves.png")
FORMAT = 1  # of sweep.json


def sweep(config: SweepConfig) -> int:
    """Run the sweep, write its folder, say which rate to take; return the exit code."""
    is_silent = config.quiet or config.json
    screen = SweepScreen(is_silent)
    with working(f"reading {config.data}", mention=not config.quiet):
        task = build(config)
    folder = _run_folder.claim(task.config, suffix="-sweep")
    with _run_folder.alone(folder, WHO):
        screen.task(task)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with screen.progress() as show, warnings.catch_warnings():
                SIGNALS.hold()
                runs = task.run(_passing_signals_on(show))
        except BaseException:
            _run_folder.give_up(folder)
            raise
        finally:
            SIGNALS.let_go()
        chosen = _verdict(runs)
        about = _write(folder, task, runs, chosen, started)
        if not SIGNALS.terminated:  # then there is no time to lose
            with working("drawing", mention=not config.quiet):
                _draw(folder, runs, chosen)
        _say(screen, config, folder, runs, chosen, about)
    if np.any(runs.status == Status.INTERRUPTED):
        return SIGNALS.exit_code
    return 1 if np.all(runs.status == Status.DIVERGED) else 0


def _passing_signals_on(show: Callable[[SweepProgress], None]) -> Callable[[SweepProgress], None]:
    """Return what shows the progress, and hands a signal that was held on to the sweep, which ends with what it has."""
    handed_on = False

    def draw(progress: SweepProgress) -> None:
        nonlocal handed_on
        show(progress)
        if SIGNALS.received is not None and not handed_on and progress.status == "running":
            handed_on = True
            signal.raise_signal(signal.SIGINT)

    return draw


def _verdict(runs: Runs) -> Verdict | None:
    """Return which rate to take; None where no run ended well."""
    return verdict(runs) if runs.ended_well.any() else None


def _write(folder: Path, task: SweepTask, runs: Runs, chosen: Verdict | None, started: str) -> dict[str, Any]:
    """Write the table and what is known about it, and return the latter; old pictures go."""
    for name in (ABOUT, RUNS, *PICTURES):
        (folder / name).unlink(missing_ok=True)
    runs.to_csv(folder / RUNS)
    best = runs.best() if np.isfinite(runs.value).any() else None
    about = {
        "format": FORMAT,
        "config": _run_folder.options_of(task),
        "grid": task.grid,
        **_run_folder.about(task),
        "started": started,
        "runs": len(runs),
        "ended": {str(status): int(np.sum(runs.status == status)) for status in Status if status in runs.status},
        "monitor": runs.monitor,
        "verdict": None if chosen is None else _as_json(chosen),
        "best": best and {
            "run": best.number,
            "settings": best.settings,
            "status": str(best.status),
            "best_epoch": best.best_epoch,
            "log_likelihood": best.log_likelihood,
            "accuracy": best.accuracy,
        },
    }  # fmt: skip
    write_json(folder / ABOUT, about)
    return about


def _as_json(chosen: Verdict) -> dict[str, Any]:
    return asdict(chosen) | {"rates": [rate._asdict() for rate in chosen.rates]}


def _draw(folder: Path, runs: Runs, chosen: Verdict | None) -> None:
    if find_spec("matplotlib") is None:
        return
    figures: dict[str, Callable[[], Any]] = {PICTURES[1]: lambda: plotting.sweep_curves(runs)}
    if chosen is not None:
        figures[PICTURES[0]] = lambda: plotting.sweep(runs)
    draw_all(WHO, folder, figures)


def _say(
    screen: SweepScreen, config: SweepConfig, folder: Path, runs: Runs, chosen: Verdict | None, about: dict[str, Any]
) -> None:
    """Say which rate to take, where everything is, and what to do next."""
    if np.all(runs.status == Status.DIVERGED):  # also when quiet
        complain(f"all {len(runs):,} runs diverged; try smaller --learning-rates")
    if config.json:
        write(to_json({"run_folder": str(folder)} | about) + "\n")
    elif config.quiet:
        say(str(folder))
    interrupted = int(np.sum(runs.status == Status.INTERRUPTED))
    if interrupted:
        screen.say("", f"interrupted: {interrupted:,} of {len(runs):,} runs had not ended")
    if chosen is not None:
        screen.say("", *str(chosen).splitlines(), "")
    pictures = [name for name in PICTURES if (folder / name).exists()]
    screen.say(f"run folder  {folder}", f"files       {RUNS}, {ABOUT}")
    if pictures or not SIGNALS.terminated:
        screen.say(f"pictures    {', '.join(pictures) or 'none: matplotlib is missing (pip install jaxnn[plot])'}")
    if chosen is not None and not interrupted:
        l2 = "".join(f" --l2 {value:g}" for name, value in chosen.settings.items() if name == "l2")
        screen.say(f"next        jaxnn train --learning-rate {chosen.recommended:g}{l2}, and the other options as here")
