"""`jaxnn evaluate`: how well the model of a run folder does on a file with labels."""

from jaxnn._evaluate import evaluate as evaluated
from jaxnn._saved import load_run
from jaxnn.cli._config import EvaluateConfig
from jaxnn.cli._json import to_json
from jaxnn.cli._output import say, write
from jaxnn.cli._screen import facts_of, figures_table, print_table, working
from jaxnn.cli._source import column, table_options
from jaxnn.data import read


def evaluate(config: EvaluateConfig) -> int:
    """Evaluate the model on the file and print the figures beside those of its own test part; return the exit code."""
    run = load_run(config.run)
    with working(f"reading {config.file}"):
        ds = read(
            config.file,
            like=run.schema,
            label=column(config.label),
            features=config.features,
            **table_options(config),
        )
    with working("evaluating"):
        figures = evaluated(run.objective, run.params, ds).to_dict()
    if config.json:
        write(to_json({"file": str(config.file), **figures}) + "\n")
        return 0
    say(*facts_of({"model": f"{run.objective.model!r} of {config.run}", "file": str(config.file)}))
    rows = {ds.schema.name: figures}
    if "test" in run.figures:
        rows["test part of the run"] = run.figures["test"]
    print_table(figures_table(rows))
    return 0
