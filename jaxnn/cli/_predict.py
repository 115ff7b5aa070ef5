"""`jaxnn predict`: the model of a run folder on a new file, its answers to a CSV or Parquet file."""

import csv
import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from jaxnn._errors import ConfigError
from jaxnn._evaluate import predict as predicted
from jaxnn._evaluate import predict_proba
from jaxnn._saved import SavedRun, load_run
from jaxnn._whole import write_whole
from jaxnn.cli._config import PredictConfig
from jaxnn.cli._json import to_json
from jaxnn.cli._output import say, write
from jaxnn.cli._screen import LONGEST_LIST, cell, facts_of, print_table, working
from jaxnn.cli._source import table_options
from jaxnn.data import Inputs, read_inputs
from jaxnn.data._files.parquet import write_parquet

WHO = "predict"
STDOUT = Path("-")
SHOWN = 5  # rows, and classes, on the screen


def predict(config: PredictConfig) -> int:
    """Predict every row of the file, write the answers, show the first few; return the exit code."""
    run = load_run(config.run)
    output = _output(config)
    with working(f"reading {config.file}"):
        found = read_inputs(
            config.file, like=run.schema, keep=config.keep, features=config.features, **table_options(config)
        )
    with working("predicting"):
        answers = _answers(run, found)
        _check_names(found, answers)
        columns = dict(found.kept) | answers
    if output == STDOUT:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        write(_csv(columns))
        return 0
    if output.suffix == ".csv":
        write_whole(output, lambda path: path.write_text(_csv(columns), encoding="utf-8", newline=""))
    else:
        write_whole(output, lambda path: write_parquet(path, columns))
    facts = {"file": str(output), "rows": len(found.x), "columns": list(columns), "unused": list(found.unused)}
    if config.json:
        write(to_json(facts) + "\n")
    else:
        _show(run, found, columns, config, output)
    return 0


def _output(config: PredictConfig) -> Path:
    """Return where to write; raise `ConfigError` where that is no new CSV or Parquet file."""
    if config.features is not None and config.file.suffix != ".npz":
        raise ConfigError(
            f"{WHO}: --features names an array of an .npz file; got --features {config.features} with {config.file}; "
            "leave it out: columns are found by their names"
        )
    if config.output == STDOUT:
        if config.json:
            raise ConfigError(f"{WHO}: --output - is CSV on standard output; got --json too; leave one of them out")
        return STDOUT
    stem = config.file.name.partition(".")[0]
    output = config.output or Path(f"{stem}-predictions.csv")
    if output.suffix not in (".csv", ".parquet"):
        raise ConfigError(
            f"{WHO}: --output ends in .csv or .parquet; got {output}; rename it, or pass - for standard output"
        )
    if not output.parent.is_dir():
        raise ConfigError(f"{WHO}: --output lies in a folder that exists; got {output}; make the folder first")
    if output.is_dir():
        raise ConfigError(f"{WHO}: --output is a file; got the folder {output}; name a file in it")
    if output.exists() and config.file.exists() and output.samefile(config.file):
        raise ConfigError(f"{WHO}: --output is not the file that is read; got {output}; choose another")
    if output.exists() and not config.overwrite:
        raise ConfigError(f"{WHO}: --output is a new file; got {output}; choose another, or pass --overwrite")
    return output


def _answers(run: SavedRun, found: Inputs) -> dict[str, Any]:
    """Return the predicted labels and a column of probabilities a class, or the predicted means."""
    schema = run.schema
    label = schema.label_name or "label"
    label = f"predicted {label}" if label in found.kept else label
    y = np.asarray(predicted(run.objective, run.params, found.x))
    if schema.num_classes is None:
        return {label: y} if y.ndim == 1 else {f"{label}_{k}": y[:, k] for k in range(y.shape[1])}
    p = np.asarray(predict_proba(run.objective, run.params, found.x))
    classes = schema.spell(np.arange(schema.num_classes))
    return {label: schema.spell(y)} | {f"P({name})": p[:, k] for k, name in enumerate(classes)}


def _check_names(found: Inputs, answers: dict[str, Any]) -> None:
    """Raise `ConfigError` where a column that is kept is called like an answer, as in a file of earlier answers."""
    for name in answers:
        if name in found.kept:
            raise ConfigError(
                f"{WHO}: columns that are kept have other names than the predictions; got --keep {name!r}; leave it "
                "out, or rename it in the file"
            )


def _csv(columns: dict[str, Any]) -> str:
    """Return the columns as CSV; float32 numbers with the digits that tell one from the next."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    cells = (map(str, column) if isinstance(column, np.ndarray) else column for column in columns.values())
    writer.writerows(zip(*cells, strict=True))
    return text.getvalue()


def _show(run: SavedRun, found: Inputs, columns: dict[str, Any], config: PredictConfig, output: Path) -> None:
    label = next(name for name in columns if name not in found.kept)
    facts = {
        "model": f"{run.objective.model!r} of {config.run}",
        "rows": f"{len(found.x):,} of {config.file}",
    }
    if run.schema.num_classes is not None:
        counts = Counter(map(str, columns[label])).most_common()
        facts["predicted"] = ", ".join(f"{name} {count:,}" for name, count in counts[:SHOWN]) + (
            f" and {len(counts) - SHOWN} more classes" if len(counts) > SHOWN else ""
        )
    if found.unused:
        names = ", ".join(found.unused)
        facts["not used"] = names if len(names) < 2 * LONGEST_LIST else f"{len(found.unused)} columns"
    say(*facts_of(facts))

    table = Table(box=box.SIMPLE)
    shown = list(columns)[: len(found.kept) + 1 + SHOWN]
    for name in shown:
        table.add_column(cell(name), justify="left" if name == label or name in found.kept else "right")
    for i in range(min(SHOWN, len(found.x))):
        table.add_row(*(cell(columns[name][i]) for name in shown))
    print_table(table)
    more = f" ({len(found.x) - SHOWN:,} more rows)" if len(found.x) > SHOWN else ""
    say(f"written     {output}{more}")
