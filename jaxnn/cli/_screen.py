"""What `jaxnn train` says: lines and tables on standard output, a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from jaxnn._evaluate import Evaluation
from jaxnn._fit import FitResult
from jaxnn._models import summary
from jaxnn._progress import Progress, describe
from jaxnn._state import Status
from jaxnn._types import Params
from jaxnn._version import __version__
from jaxnn.cli._build import Problem, make_plan

SECONDS_BETWEEN_LINES = 2.0  # where there is no terminal
WHY = {
    "bernoulli": "two classes: one logit, P(y=1) = sigmoid",
    "categorical": "{0} classes: one logit each, P(y) = softmax",
    "gaussian": "real targets: their mean, with unit variance",
}
COLUMNS = {
    "log_likelihood": "log likelihood\n(nats per example)",
    "accuracy": "accuracy",
    "brier": "Brier\nscore",
    "calibration_error": "calibration\nerror",
    "root_mean_squared_error": "root mean\nsquared error",
}


class Screen:
    """Prints. When quiet it says only where the run folder is, and that a run diverged."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.console = Console(quiet=quiet, highlight=False)

    def say(self, *lines: str) -> None:
        """Print lines as they are."""
        for line in lines:
            self.console.print(line, markup=False, soft_wrap=True)

    def problem(self, problem: Problem, params: Params) -> None:
        """Say what will be done: data, likelihood, model, steps, stopping."""
        config, schema = problem.config, problem.train.schema
        sizes = [len(part) for part in (problem.train, problem.hold_out, problem.test)]
        classes = f"{schema.num_classes} classes" if schema.num_classes else "real targets"
        plan = make_plan(config)
        facts = {
            "device": f"{jax.devices()[0].device_kind}, jaxnn {__version__}, seed {config.seed}",
            "data": f"{schema.name}: {sum(sizes):,} examples, {problem.train.num_features} features"
            f"{' (standardised)' if schema.mean else ''}, {classes}",
            "parts": "{:,} to learn from, {:,} hold-out, {:,} test (untouched until the end)".format(*sizes),
            "likelihood": f"{problem.likelihood} ({WHY[problem.likelihood].format(schema.num_classes)})",
            "model": f"{problem.objective.model!r}",
            "steps": f"{plan!r}: {plan.num_steps(sizes[0]):,} an epoch, {config.optimizer} at "
            f"{config.learning_rate:g}, l2 {config.l2:g}",
            "stopping": f"after {config.patience} epochs without a gain in {config.monitor.replace('_', ' ')} on the "
            f"hold-out, or after {config.epochs}",
        }
        if problem.class_weights is not None:
            numbers = ", ".join(f"{w:.3g}" for w in problem.class_weights)
            facts["weights"] = f"{numbers} for an example of each class, while learning and stopping"
        self.say(*(f"{name:<12}{fact}" for name, fact in facts.items()), "", summary(params), "")

    @contextmanager
    def progress(self, max_epochs: int) -> Iterator[Callable[[Progress], None]]:
        """Give a function that shows the progress handed to it: a live bar, or a line now and then."""
        if not self.console.is_terminal or self.quiet:
            yield self._lines()
            return
        bar = Bar(
            SpinnerColumn(),
            BarColumn(bar_width=32),
            TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}  {task.fields[best]}", markup=False),
            TimeElapsedColumn(),
        )
        task = bar.add_task("", total=max(max_epochs, 1), epoch=0, best="compiling")
        figures = Text()

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.epoch, epoch=int(progress.epoch), best=f"best {progress.best_epoch}")
            figures.plain = f"  {describe(progress.row)}"

        with Live(Group(bar, figures), console=self.console):
            yield show

    def _lines(self) -> Callable[[Progress], None]:
        last = -SECONDS_BETWEEN_LINES

        def show(progress: Progress) -> None:
            nonlocal last
            now = time.perf_counter()
            if progress.status != "running" or now - last >= SECONDS_BETWEEN_LINES:
                last = now
                epoch = f"epoch {int(progress.epoch):>3}/{progress.max_epochs}"
                self.say(f"{epoch}  {describe(progress.row)}  best {progress.best_epoch}  {progress.seconds:.1f} s")

        return show

    def result(self, result: FitResult, evaluations: dict[str, Evaluation]) -> None:
        """Say how the run ended and print the final figures of every part."""
        if result.status == Status.DIVERGED:  # also when quiet
            print(f"jaxnn: {result.message}", file=sys.stderr)
        else:
            message = result.message.partition("; go on with")[0]  # that hint is for callers of `fit`
            self.say("", f"{message} ({result.history.seconds[-1]:.1f} s, compiling included)")
        figures = {part: evaluation.to_dict() for part, evaluation in evaluations.items()}
        shown = [name for name in COLUMNS if name in figures["test"]]
        table = Table(box=box.SIMPLE, title_style="bold")
        table.add_column("part")
        table.add_column("examples", justify="right")
        for name in shown:
            table.add_column(COLUMNS[name], justify="right")
        for part, row in figures.items():
            table.add_row(part.replace("_", "-"), f"{row['num_examples']:,}", *(f"{row[name]:.4f}" for name in shown))
        self.console.print(table)

    def written(self, folder: Path, files: list[str]) -> None:
        """Say where everything is."""
        if self.quiet:
            print(folder)
        pictures = [name for name in files if name.endswith(".png")]
        others = [name for name in files if name not in pictures]
        self.say(f"run folder  {folder}", f"files       {', '.join(others)}")
        self.say(f"pictures    {', '.join(pictures) or 'none: matplotlib is missing (pip install jaxnn[plot])'}")
