"""What the commands say: lines and tables on standard output, a live bar on a terminal, plain lines elsewhere."""

import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
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
from jaxnn._resume import progress_in
from jaxnn._state import Status
from jaxnn._types import Params
from jaxnn._version import __version__
from jaxnn.checkpoint import Checkpoints
from jaxnn.cli._build import Problem, Task, make_plan
from jaxnn.cli._help import as_options
from jaxnn.cli._json import to_json
from jaxnn.cli._output import complain, printable, say, write
from jaxnn.cli._run_folder import written
from jaxnn.data import Schema

SECONDS_BETWEEN_LINES = 2.0  # where there is no terminal
WIDTH = 120  # of tables where there is no terminal
LONGEST_LIST = 60  # characters of class names on a line
WHY = {
    "bernoulli": "two classes: one logit, P(y=1) = sigmoid",
    "categorical": "{0} classes: one logit each, P(y) = softmax",
    "gaussian": "real targets: their mean, with unit variance",
}
PARTS_OF_A_RUN = {"train", "hold_out", "test"}
COLUMNS = {
    "log_likelihood": "log likelihood\n(nats per example)",
    "accuracy": "accuracy",
    "brier": "Brier\nscore",
    "calibration_error": "calibration\nerror",
    "root_mean_squared_error": "root mean\nsquared error",
}


PATIENCE = 1.0  # seconds after which work that goes on is mentioned


@contextmanager
def working(what: str, mention: bool = True) -> Iterator[Callable[[], None]]:
    """Say on standard error that something is being done: a spinner on a terminal, a line after a second elsewhere.

    Gives a function that ends it early.
    """
    console = Console(stderr=True, highlight=False)
    if not mention:
        yield lambda: None
        return
    if console.is_terminal:
        with console.status(Text(printable(f"{what} ..."))) as status:
            yield status.stop
        return
    line = printable(f"{what} ...")
    timer = threading.Timer(PATIENCE, lambda: print(line, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal, or as wide as it needs where there is none."""
    width = None if sys.stdout is not None and sys.stdout.isatty() else WIDTH
    console = Console(highlight=False, width=width)
    with console.capture() as drawn:  # rich by itself ends the program when nobody reads
        console.print(table)
    write(drawn.get())


def cell(value: Any) -> Text:
    """Return a cell of a table: numbers with four digits; names as they are, with no markup and nothing obeyed."""
    return Text(f"{value:.4f}" if isinstance(value, float | np.floating) else printable(value))


def facts_of(facts: dict[str, str]) -> list[str]:
    """Return a line a fact, their names in a column."""
    return [f"{name:<12}{fact}" for name, fact in facts.items()]


def figures_table(rows: dict[str, dict[str, Any]]) -> Table:
    """Return a table of the figures of data sets, as `Evaluation.to_dict` gives them, a row each."""
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    table = Table(box=box.SIMPLE, title_style="bold")
    table.add_column("data" if set(rows) - PARTS_OF_A_RUN else "part", no_wrap=True)
    table.add_column("examples", justify="right")
    for name in shown:
        table.add_column(COLUMNS[name], justify="right", no_wrap=True)
    for label, row in rows.items():
        cells = (cell(row[name]) if row.get(name) is not None else "" for name in shown)
        title = label.replace("_", "-") if label in PARTS_OF_A_RUN else label
        table.add_row(cell(title), f"{row['num_examples']:,}", *cells)
    return table


def words(progress: Progress) -> str:
    """Return how far a run is, as a line."""
    epoch = f"epoch {int(progress.epoch):>3}/{progress.max_epochs}"
    return f"{epoch}  {describe(progress.row)}  best {progress.best_epoch}  {progress.seconds:.1f} s"


def in_lines(print_line: Callable[[str], None], begun: Callable[[], None], words: Callable[[Any], str]) -> Callable:
    """Return what prints the progress handed to it now and then, and at the end; `begun` is told that there is some."""
    last = -SECONDS_BETWEEN_LINES

    def show(progress: Any) -> None:
        nonlocal last
        begun()
        now = time.perf_counter()
        if progress.status != "running" or now - last >= SECONDS_BETWEEN_LINES:
            last = now
            print_line(words(progress))

    return show


class Screen:
    """Prints what `train` does. When quiet it says only where the run folder is, and that a run diverged."""

    def __init__(self, quiet: bool, json: bool = False):
        self.quiet = quiet
        self.json = json
        self.console = Console(quiet=quiet or json, highlight=False)

    def say(self, *lines: str) -> None:
        """Print lines as they are, unless quiet."""
        if not self.console.quiet:
            say(*lines)

    def problem(self, problem: Problem, params: Params, going_on: Checkpoints | None) -> None:
        """Say what will be done: data, likelihood, model, steps, stopping, and from where a run goes on."""
        facts = facts_about(problem, f" at {problem.config.learning_rate:g}, l2 {problem.config.l2:g}")
        if going_on is not None:
            reached = progress_in(going_on)
            facts["going on"] = (
                "from the start: the run was ended before its first save"
                if reached is None
                else f"from epoch {reached['epoch']}, step {reached['step']}, saved after {reached['seconds']:.1f} s"
            )
        self.say(*facts_of(facts), "", summary(params), "")

    @contextmanager
    def progress(self, max_epochs: int) -> Iterator[Callable[[Progress], None]]:
        """Give a function that shows the progress handed to it: a live bar, or a line now and then."""
        if not self.console.is_terminal or self.console.quiet:
            with working("compiling", mention=not self.console.quiet) as done:
                yield in_lines(self.say, done, words)
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

    def result(self, result: FitResult, evaluations: dict[str, Evaluation]) -> None:
        """Say how the run ended and print the final figures of every part."""
        if result.status == Status.DIVERGED:  # also when quiet
            complain(result.message)
        else:
            message = as_options(result.message.partition("; go on with")[0])  # that hint is for callers of `fit`
            self.say("", f"{message} ({result.history.seconds[-1]:.1f} s, compiling included)")
        if not self.console.quiet and evaluations:
            print_table(figures_table({part: evaluation.to_dict() for part, evaluation in evaluations.items()}))

    def written(self, folder: Path, metrics: dict[str, Any], from_file: bool, ended: Status) -> None:
        """Say where everything is and what can be done with it."""
        if self.json:
            write(to_json({"run_folder": str(folder)} | metrics) + "\n")
        elif self.quiet:
            say(str(folder))
        files = written(folder)
        pictures = [name for name in files if name.endswith(".png")]
        others = [name for name in files if name not in pictures]
        self.say(f"run folder  {folder}", f"files       {', '.join(others)}")
        if pictures or ended != Status.INTERRUPTED:
            self.say(f"pictures    {', '.join(pictures) or 'none: matplotlib is missing (pip install jaxnn[plot])'}")
        if ended == Status.INTERRUPTED:
            self.say(f"next        jaxnn train --resume {shlex.quote(str(folder))}")
        elif from_file:
            self.say(f"next        jaxnn predict {shlex.quote(str(folder))} NEW_FILE")


def facts_about(task: Task, sizes: str) -> dict[str, str]:
    """Return what will be done: data, likelihood, model, steps of these sizes, stopping."""
    config, schema = task.config, task.train.schema
    counts = [len(part) for part in task.parts.values()]
    plan = make_plan(config)
    facts = {
        "device": f"{jax.devices()[0].device_kind}, jaxnn {__version__}, seed {config.seed}",
        "data": f"{schema.name}: {sum(counts):,} examples, {task.train.num_features} features"
        f"{' (standardised)' if schema.mean else ''}, {classes_of(schema)}",
        "parts": "{:,} to learn from, {:,} hold-out, {:,} test (untouched until the end)".format(*counts),
        "likelihood": f"{task.likelihood} ({WHY[task.likelihood].format(schema.num_classes)})",
        "model": f"{task.objective.model!r}",
        "steps": f"{plan!r}: {plan.num_steps(counts[0]):,} an epoch, {config.optimizer}{sizes}"
        f"{how_made(config.aggregate, config.max_norm)}",
        "stopping": f"after {config.patience} epochs without a gain in {config.monitor.replace('_', ' ')} on the "
        f"hold-out, or after {config.epochs}",
    }
    if task.class_weights is not None:
        numbers = ", ".join(f"{w:.3g}" for w in task.class_weights)
        facts["weights"] = f"{numbers} for an example of each class, while learning and stopping"
    return facts


def how_made(aggregate: Any, max_norm: Any) -> str:
    """Return what a step makes of the gradients of its examples, unless it is their mean."""
    return {"sum": ", gradients summed", "clipped": f", gradients clipped to {max_norm}"}.get(aggregate, "")


def classes_of(schema: Schema) -> str:
    """Return the classes of a data set in words."""
    if schema.num_classes is None:
        return "real targets"
    names = schema.class_names
    is_worth_a_list = names and sum(map(len, names)) < LONGEST_LIST and not all(map(str.isdigit, names))
    listed = f": {', '.join(names)}" if names and is_worth_a_list else ""
    return f"{schema.num_classes} classes{listed}"
