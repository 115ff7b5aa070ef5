"""`jaxnn show`: a run folder in one screen: what was trained, how it went, where it stopped and why, how good it is."""

import math
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from jaxnn._models import summary
from jaxnn._run_files import CHECKPOINTS, METRICS
from jaxnn._saved import SavedRun, load_run
from jaxnn.checkpoint import Checkpoints
from jaxnn.cli._config import ShowConfig
from jaxnn.cli._json import to_json
from jaxnn.cli._output import say, write
from jaxnn.cli._run_folder import written
from jaxnn.cli._screen import classes_of, facts_of, figures_table, how_made, print_table

SHOWN = 8  # rows of the history
HISTORY = {  # column -> heading, and how a number is written
    "log_likelihood": ("log likelihood\n(training)", "{:.4f}"),
    "hold_out_log_likelihood": ("log likelihood\n(hold-out)", "{:.4f}"),
    "hold_out_accuracy": ("accuracy\n(hold-out)", "{:.4f}"),
    "update_ratio": ("|update|\n/ |w|", "{:.2%}"),
    "seconds": ("seconds", "{:.1f}"),
}


def show(config: ShowConfig) -> int:
    """Print the run; return the exit code."""
    run = load_run(config.run)
    if config.json:
        write(to_json(_everything(run)) + "\n")
        return 0
    say(*facts_of(_facts(run)), "", summary(run.params), "", _end(run))
    print_table(_history(run))
    if run.figures:
        print_table(figures_table(run.figures))
    files = written(run.folder)
    pictures = [str(run.folder / name) for name in files if name.endswith(".png")]
    others = [name for name in files if not name.endswith(".png")]
    others += [path.name for folder in (run.folder, run.folder / CHECKPOINTS) for path in Checkpoints(folder).paths()]
    say(f"files       {', '.join(others)}")
    say("pictures    " + "\n            ".join(pictures or ["none"]))
    return 0


def _facts(run: SavedRun) -> dict[str, str]:
    options, schema = _dict(run.config.get("config")), run.schema
    parts = _dict(run.config.get("parts"))
    sizes = ", ".join(f"{count} {name.replace('_', '-')}" for name, count in parts.items())
    scale = " (standardised)" if schema.mean else ""
    times = run.config.get("resumed")
    resumed = f", resumed {len(times)} x" if isinstance(times, list) and times else ""
    versions, device = _dict(run.config.get("versions")), _dict(run.config.get("device"))
    name = f"{options['data']}: " if "data" in options else ""
    facts = {
        "run": str(run.folder),
        "trained": f"{run.config.get('started', '')}{resumed}, jaxnn {versions.get('jaxnn')}, "
        f"jax {versions.get('jax')}, {device.get('kind')}",
        "data": f"{name}{run.objective.model.sizes[0]} features{scale}, {classes_of(schema)}",
        "parts": sizes,
        "likelihood": str(run.config["likelihood"]),
        "model": f"{run.objective.model!r}",
        "steps": f"{options.get('plan')}, {options.get('optimizer')} at {options.get('learning_rate')}, l2 "
        f"{options.get('l2')}, seed {options.get('seed')}{how_made(options.get('aggregate'), options.get('max_norm'))}",
    }
    if not options:  # a folder of `fit` knows what it was called with, in words
        called = _dict(run.config.get("facts"))
        facts["trained"] = f"by fit, jaxnn {versions.get('jaxnn')}, jax {versions.get('jax')}, {versions.get('device')}"
        facts["parts"] = f"train {called.get('train')}; hold-out {called.get('hold_out')}"
        facts["steps"] = f"{called.get('plan')}, {called.get('optimizer')} at {called.get('learning_rate')}"
    return facts


def _dict(value: Any) -> dict[str, Any]:
    """Return the value if it is an object of config.json, else an empty one: what only is shown may be missing."""
    return value if isinstance(value, dict) else {}


def _end(run: SavedRun) -> str:
    """Return where the run stopped and why."""
    if not run.status:
        return f"no {METRICS}: the run was ended before it said how; these are the parameters it had written"
    return run.message.partition("; go on with")[0]


def _history(run: SavedRun) -> Table:
    """Return the first and last rows of the history, the best one, and some in between."""
    epochs = np.asarray(run.history.epoch).tolist()
    rows = {round(i) for i in np.linspace(0, len(epochs) - 1, SHOWN)} if epochs else set()
    best = epochs.index(run.best_epoch) if run.best_epoch in epochs else None
    rows |= set() if best is None else {best}
    columns = {name: np.asarray(getattr(run.history, name), float) for name in HISTORY}
    shown = [name for name, column in columns.items() if np.isfinite(column).any()]
    table = Table(box=box.SIMPLE)
    table.add_column("epoch", justify="right")
    for name in shown:
        table.add_column(HISTORY[name][0], justify="right", no_wrap=True)
    table.add_column("")
    for i in sorted(rows):
        cells = (HISTORY[name][1].format(v) if math.isfinite(v := columns[name][i]) else "" for name in shown)
        table.add_row(f"{epochs[i]}", *cells, "returned" if i == best else "")
    return table


def _everything(run: SavedRun) -> dict[str, Any]:
    """Return the run for scripts."""
    return {
        "run_folder": str(run.folder),
        "status": run.status,
        "message": run.message,
        "best_epoch": run.best_epoch,
        "figures": run.figures,
        "history": run.history.rows(),
        "files": written(run.folder),
        "config": run.config,
    }
