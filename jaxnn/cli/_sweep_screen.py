"""What `jaxnn sweep` shows: a live table of its rates on a terminal, plain lines elsewhere, and the verdict."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jaxnn._state import Status
from jaxnn._sweep._progress import SweepProgress
from jaxnn.cli._output import say
from jaxnn.cli._screen import facts_about, facts_of, in_lines, working
from jaxnn.cli._sweep_task import SweepTask

COLUMNS = ("learning rate", "runs", "running", "ended", "diverged", "best so far", "mean so far")


class SweepScreen:
    """Prints what `sweep` does; nothing when quiet."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.console = Console(quiet=quiet, highlight=False)

    def say(self, *lines: str) -> None:
        """Print lines as they are, unless quiet."""
        if not self.quiet:
            say(*lines)

    def task(self, task: SweepTask) -> None:
        """Say what will be done: data, model, steps, and how many runs of which settings."""
        rates, penalties = task.grid["learning_rate"], task.grid.get("l2", [task.config.l2])
        facts = facts_about(task, f", l2 {', '.join(f'{l2:g}' for l2 in penalties)}")
        counts = {"rates": len(rates), "penalties": len(task.grid.get("l2", ())), "folds": task.config.folds or 0}
        counts |= {"seeds": len(task.grid["seed"]), "orders": len(task.grid["order"])}
        product = " x ".join(f"{count} {name}" for name, count in counts.items() if count > 1)
        total = int(np.prod([max(count, 1) for count in counts.values()]))
        facts["rates"] = f"{rates[0]:g} to {rates[-1]:g}" if len(rates) > 1 else f"{rates[0]:g}"
        facts["runs"] = f"{total:,}: {product}" if total > 1 else "1"
        if task.folds is not None:
            learnt = len(task.train) + len(task.hold_out)
            facts["parts"] = f"{learnt:,} in {task.config.folds} folds, {len(task.test):,} test (untouched)"
            facts["stopping"] = facts["stopping"].replace("on the hold-out", "on the fold left out")
        else:
            facts["parts"] = facts["parts"].replace("untouched until the end", "untouched")
        self.say(*facts_of(facts), "")

    @contextmanager
    def progress(self) -> Iterator[Callable[[SweepProgress], None]]:
        """Give a function that shows the progress handed to it."""
        if self.quiet or not self.console.is_terminal:
            with working("compiling", mention=not self.quiet) as done:
                yield in_lines(self.say, done, line)
            return
        last = ""

        def show(progress: SweepProgress) -> None:
            nonlocal last
            last = line(progress)
            live.update(Group(rates_table(progress), Text(last)), refresh=True)

        with Live(Text("compiling ..."), console=self.console, transient=True) as live:  # the verdict is a table, too
            yield show
        self.say(last)


def line(progress: SweepProgress) -> str:
    """Return the progress in words; of the best run's settings those that differ between runs."""
    first, last = progress.settings[0], progress.settings[-1]  # of a product: they differ in all that varies
    varied = {name: value for name, value in progress.best_settings.items() if first[name] != last[name]}
    return str(progress._replace(best_settings=varied))


def rates_table(progress: SweepProgress) -> Table:
    """Return how the runs of each rate stand, with the best one's marked."""
    rates = np.array([settings["learning_rate"] for settings in progress.settings])
    table = Table(box=box.SIMPLE)
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for rate in np.unique(rates):
        mine = rates == rate
        status, values = progress.statuses[mine], progress.values[mine]
        values = values[np.isfinite(values) & (status != Status.DIVERGED)]
        running, diverged = int(np.sum(status == Status.RUNNING)), int(np.sum(status == Status.DIVERGED))
        ended = len(status) - running - int(np.sum(status == Status.INTERRUPTED))
        cells: list[Any] = [f"{rate:.3g}", str(len(status)), str(running), str(ended), str(diverged)]
        cells += [f"{values.max():.4f}", f"{values.mean():.4f}"] if len(values) else ["", ""]
        is_best = rate == progress.best_settings["learning_rate"] and np.isfinite(progress.best)
        table.add_row(*cells, style="bold" if is_best else "")
    return table
