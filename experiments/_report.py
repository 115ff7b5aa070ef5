"""What becomes of an experiment: its report as JSON, its picture, its table, and whether its claim holds."""

import dataclasses
import importlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import scipy.stats

import jaxnn

RESULTS = Path(__file__).parent / "results"
VERSIONS = ("jax", "jaxlib", "optax", "numpy")


def load(name: str) -> ModuleType:
    """Return the module of an experiment."""
    return importlib.import_module(f"experiments.{name}")


def perform(name: str, config: Any, folder: Path) -> dict[str, Any]:
    """Run an experiment, write NAME.json and NAME.png in a folder, print its table; return the report.

    Its claim is for the caller to check (`fault`): numbers and picture of one that fails can be looked at.
    """
    module = load(name)
    start = time.perf_counter()
    found = module.run(config)
    made = {
        "seconds": round(time.perf_counter() - start, 1),
        "device": jax.devices()[0].device_kind,
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in VERSIONS},
    }
    report = json_ready({"made": made, "config": dataclasses.asdict(config), **found})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(as_text(report))
    redraw(name, folder)
    print(module.table(report))
    return report


def fault(name: str, report: dict[str, Any]) -> str | None:
    """Return how the claim of an experiment fails, None where it holds.

    A number that is None, for it was not finite, cannot be compared: then the claim does not hold either.
    """
    try:
        load(name).check(report)
    except AssertionError as error:
        return str(error).partition("\n")[0] or "an assertion without words"
    except TypeError as error:
        return f"a number is not finite: {error}"
    return None


def read(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """Return the report of an experiment that has been run."""
    return json.loads((folder / f"{name}.json").read_text())


def redraw(name: str, folder: Path = RESULTS) -> None:
    """Draw NAME.png anew from NAME.json, without a run."""
    figure = load(name).draw(read(name, folder))
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})


def json_ready(value: Any) -> Any:
    """Return nested dictionaries, lists, text and numbers of six significant digits; None for what is not finite."""
    if isinstance(value, dict):
        return {str(key): json_ready(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(part) for part in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return json_ready(np.asarray(value).tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def as_text(report: dict[str, Any]) -> str:
    """Return a report as JSON in which a list of numbers is one line."""
    text = json.dumps(report, indent=1, allow_nan=False)
    return re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text) + "\n"


def interval(values: Iterable[float], overlap: float = 0.0) -> dict[str, float]:
    """Return mean, standard deviation and Student's 95 % interval of the mean of independent runs.

    Runs on random splits of one data set share examples: then `overlap` is the number of test examples over that of
    training examples, and the variance of the mean is (1/n + overlap) s² (Nadeau & Bengio 2003).
    """
    a = np.asarray(list(values), float)
    std = float(a.std(ddof=1))
    half = float(scipy.stats.t.ppf(0.975, len(a) - 1)) * std * (1 / len(a) + overlap) ** 0.5
    return {"mean": float(a.mean()), "std": std, "low": float(a.mean()) - half, "high": float(a.mean()) + half}


def finished(result: Any) -> Any:
    """Return the result of a fit or a sweep; raise `KeyboardInterrupt` for one that a Ctrl-C has ended early.

    Half a run must not become a report.
    """
    if np.any(np.asarray(result.status) == jaxnn.Status.INTERRUPTED):
        raise KeyboardInterrupt
    return result


def track(items: Iterable[Any], what: str) -> Iterable[Any]:
    """Yield the items, with a bar on the screen that says how many are done."""
    from rich.console import Console
    from rich.progress import track as bar

    return bar(list(items), what, console=Console(file=sys.stderr), transient=True)


def in_columns(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows of text or numbers as a table, the first row its heading; the first column is to the left."""
    cells = [[cell if isinstance(cell, str) else f"{cell:.4g}" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )
