"""What stands below the options in `--help`: examples of each command, exit codes, the one XLA flag."""

import re

# On a CPU XLA runs a loop whose data are small as one kernel, a larger one as one kernel an operation. The threshold is
# raised to "always": steps on single examples of hundreds of features become 1.8 times faster (of few features: no
# gain; benchmarks/single_example.py). XLA reads the variable when its backend starts, at the first computation, so
# `cli.main` is early enough.
XLA_OPTION = "xla_backend_extra_options"
XLA_FLAG = f"--{XLA_OPTION}=xla_cpu_small_while_loop_byte_threshold=1000000000000"

DESCRIPTION = "Learning by gradient ascent on a log likelihood.  jaxnn --version prints the version."

EXAMPLES = {
    "train": """\
  jaxnn train                                        digits, as `make run` does
  jaxnn train --data flowers.csv --label species         a file of your own
  jaxnn train --data train.csv --label -1 --hold-out valid.csv --test test.csv
  jaxnn train --data houses.parquet --label price --regression --features area rooms
  jaxnn train --data spiral --hidden 64 64 --activation tanh --patience 50
  jaxnn train --data breast_cancer --hidden              logistic regression
  jaxnn train --data iris --hidden --plan stochastic --replacement --optimizer sgd
  jaxnn train --data mnist --hidden 128 --batch-size 128 --epochs 20
  jaxnn train --resume runs/mnist                        a run that was stopped or killed goes on
""",
    "sweep": """\
  jaxnn sweep                                        digits: 16 rates of adam x 8 seeds
  jaxnn sweep --optimizer sgd --learning-rates 0.001:10:16 --seeds 8
  jaxnn sweep --data flowers.csv --label species --learning-rates 0.01 0.03 0.1 --folds 5
  jaxnn sweep --data wine --hidden --optimizer sgd --l2s 0 0.001 0.01 0.1
""",
    "predict": """\
  jaxnn predict runs/flowers new.csv                     writes new-predictions.csv
  jaxnn predict runs/flowers new.csv --keep id --output answers.parquet
  jaxnn predict runs/flowers new.csv --output - | head
""",
    "evaluate": """\
  jaxnn evaluate runs/flowers test.csv
  jaxnn evaluate runs/flowers test.csv --label kind --json
""",
    "show": """\
  jaxnn show runs/flowers
  jaxnn show runs/flowers --json
""",
    "data": """\
  jaxnn data list
  jaxnn data fetch mnist
  jaxnn data describe flowers.csv --label species
  jaxnn data describe iris --json
""",
}

EXIT_CODES = """\
exit codes: 0 done, 1 training diverged, 2 wrong input, 3 a download failed, 4 a fault of jaxnn's own,
  130 interrupted, 143 terminated (Ctrl-C or SIGTERM while training: the run is saved and the best parameters
  so far are written; a second one gives up; `jaxnn train --resume RUN` goes on; a sweep writes what its runs reached)
"""

XLA = f"""\
XLA_FLAGS: on a CPU, steps on single examples of hundreds of features run 1.8 times faster
  compiled into one kernel, so the command adds this, unless you have set {XLA_OPTION}:
  {XLA_FLAG}
"""


# What the rooms further in call their options, and what they are called here.
SPELLINGS = (
    (r"labels='(names|pm1|index)'", r"--labels \1"),
    (r"regression=True", "--regression"),
    (r"features=\[.*?\]", "--features COLUMNS"),
    (r"delimiter=('.*?')", r"--delimiter \1"),
    (r"delimiter=(\.\.\.)?", "--delimiter"),
    (r"header=False", "--header no"),
    (r"header=True", "--header yes"),
    (r"num_classes=K", "--num-classes K"),
    (r"folder=\.\.\.", "--folder FOLDER"),
    (r"raise max_epochs", "raise --epochs"),
    (r"raise patience", "raise --patience"),
    (r"with Checkpoints\(folder, resume=False\)", "with --overwrite"),
)


def as_options(text: str) -> str:
    """Return advice in the words of the command line."""
    for python, option in SPELLINGS:
        text = re.sub(python, option, text)
    return text


def as_said_here(error: str) -> str:
    """Return the text of an error with its advice in the words of the command line; rule and what it got stay."""
    rule, got, rest = error.partition("; got ")
    value, semicolon, advice = rest.partition("; ")
    return rule + got + value + semicolon + as_options(advice)


def epilogue(argv: list[str]) -> str:
    """Return the examples of the command that help was asked for, or of all of them, and the exit codes."""
    chosen = [EXAMPLES[argv[0]]] if argv[0] in EXAMPLES else EXAMPLES.values()
    pieces = ["examples:\n" + "".join(chosen), EXIT_CODES]
    return "\n".join([*pieces, XLA] if argv[0] not in EXAMPLES or argv[0] == "train" else pieces)
