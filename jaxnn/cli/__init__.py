"""The command line: `jaxnn train`. Parses, runs, and turns every typed error into one line and an exit code."""

import os
import sys
import traceback
from collections.abc import Sequence

from jaxnn import _checks
from jaxnn._version import __version__

OK, DIVERGED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130

ERRORS = (
    _checks.ShapeError,
    _checks.DtypeError,
    _checks.LabelError,
    _checks.NonFiniteError,
    _checks.ConfigError,
    _checks.DataFormatError,
    _checks.CheckpointError,
    OSError,  # a disk that is full, a folder that cannot be written
)

# On a CPU XLA runs a loop whose data are small as one kernel, a larger one as one kernel an operation. The threshold is
# raised to "always": steps on single examples of hundreds of features become 1.8 times faster (of few features: no
# gain; benchmarks/single_example.py). XLA reads the variable when its backend starts, at the first computation, so
# `main` is early enough.
XLA_OPTION = "xla_backend_extra_options"
XLA_FLAG = f"--{XLA_OPTION}=xla_cpu_small_while_loop_byte_threshold=1000000000000"

DESCRIPTION = "Learning by gradient ascent on a log likelihood.  jaxnn --version prints the version."

EPILOGUE = f"""\
examples:
  jaxnn train                                        digits, as `make run` does
  jaxnn train --data spiral --hidden 64 64 --activation tanh --patience 50
  jaxnn train --data breast_cancer --hidden              logistic regression
  jaxnn train --data iris --hidden --plan stochastic --replacement --optimizer sgd
  jaxnn train --data mnist --folder MNIST --hidden 128 --batch-size 128 --epochs 20

exit codes: 0 trained, 1 diverged, 2 wrong input, 130 interrupted (Ctrl-C: the best
  parameters so far are written; a second Ctrl-C gives up)

XLA_FLAGS: on a CPU, steps on single examples of hundreds of features run 1.8 times faster
  compiled into one kernel, so the command adds this, unless you have set {XLA_OPTION}:
  {XLA_FLAG}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 trained, 1 diverged, 2 wrong input, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if argv == ["--version"]:
        print(f"jaxnn {__version__}")
        return OK
    set_xla_flags()
    try:
        import rich  # noqa: F401
        import tyro
        from tyro.extras import subcommand_cli_from_dict
    except ImportError as error:
        return _complain(f"the command line needs tyro and rich; got {error}; pip install 'jaxnn[cli]'")
    from jaxnn.cli._config import TrainConfig
    from jaxnn.cli._train import train

    try:
        config = subcommand_cli_from_dict(
            {"train": TrainConfig},
            prog="jaxnn",
            description=DESCRIPTION,
            args=argv,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except SystemExit as stop:
        if not stop.code:
            print(EPILOGUE)
        return int(stop.code or OK)
    try:
        return train(config)
    except ERRORS as error:
        if config.debug:
            traceback.print_exc()
        return _complain(str(error))
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED


def set_xla_flags() -> None:
    """Add `XLA_FLAG` to the environment, unless the user has set that option."""
    flags = os.environ.get("XLA_FLAGS", "")
    if XLA_OPTION not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {XLA_FLAG}".strip()


def _complain(text: str) -> int:
    print(f"jaxnn: {' '.join(text.split())}", file=sys.stderr)
    return WRONG_INPUT
