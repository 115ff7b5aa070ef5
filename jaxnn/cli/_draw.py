"""The pictures of a run folder."""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jaxnn import plotting
from jaxnn._evaluate import Evaluation
from jaxnn._fit import FitResult
from jaxnn._whole import write_whole
from jaxnn.cli._build import Problem
from jaxnn.cli._run_folder import LARGEST_CONFUSION


def draw(folder: Path, problem: Problem, result: FitResult, test: Evaluation) -> None:
    """Draw the pictures that apply; none where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        return
    figures: dict[str, Callable[[], Any]] = {
        "learning_curves.png": lambda: plotting.learning_curves(result.history, result.best_epoch)
    }
    if test.confusion is not None:
        figures["reliability.png"] = lambda: plotting.reliability(test)
        if len(test.confusion) <= LARGEST_CONFUSION:
            figures["confusion.png"] = lambda: plotting.confusion(test, problem.train.schema.class_names)
        if problem.train.num_features == 2:
            figures["decision_boundary.png"] = lambda: plotting.decision_boundary(
                problem.objective, result.params, problem.train
            )
    draw_all("train", folder, figures)


def draw_all(who: str, folder: Path, figures: dict[str, Callable[[], Any]]) -> None:
    """Draw pictures into a folder; warn of one that cannot be drawn."""
    for name, make in figures.items():
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph")  # a letter the font has not: a box is drawn
                figure = make()
                write_whole(folder / name, lambda path, figure=figure: figure.savefig(path, format="png"))
        except Exception as error:  # a run that has ended well is not lost for a picture
            warnings.warn(f"{who}: no {name}: {type(error).__name__}: {error}", UserWarning, stacklevel=2)
