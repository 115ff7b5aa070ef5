"""The command line, `jaxnn train` and its sisters: parses, runs, turns every error into one line and an exit code."""

import contextlib
import importlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from jaxnn import _errors
from jaxnn._version import __version__
from jaxnn.cli import _help
from jaxnn.cli._output import complain, discard_output, say
from jaxnn.cli._signals import SIGNALS

OK, DIVERGED, WRONG_INPUT, NO_DOWNLOAD, OWN_FAULT, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 4, 130, 143

ERRORS = (
    _errors.ShapeError,
    _errors.DtypeError,
    _errors.LabelError,
    _errors.NonFiniteError,
    _errors.ConfigError,
    _errors.DataFormatError,
    _errors.CheckpointError,
    _errors.DownloadError,
    _errors.MemoryBudgetError,
)

COMMANDS = {  # name -> options, and the function that runs them; `data` holds commands of its own
    "train": ("TrainConfig", "_train.train"),
    "sweep": ("SweepConfig", "_sweep.sweep"),
    "predict": ("PredictConfig", "_predict.predict"),
    "evaluate": ("EvaluateConfig", "_evaluate.evaluate"),
    "show": ("ShowConfig", "_show.show"),
    "data": ("DataConfig", "_data.run"),
}
DATA_COMMANDS = ("list", "fetch", "describe")


def command() -> None:
    """Run the command as a program of its own: the way in of `jaxnn` and `python -m jaxnn`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name the terminal has no letters for is no fault
    code = main()
    if code in (INTERRUPTED, TERMINATED):
        # XLA may still be at work in another thread, and a tidy end would pull its memory away.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 diverged, 2 wrong input, 3 a download failed, 4 a fault of
    jaxnn's own, 130 interrupted, 143 terminated.
    """
    argv = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if argv == ["--version"]:
        say(f"jaxnn {__version__}")
        return OK
    argv += ["--help"] if argv == ["data"] else []
    if unknown := _unknown_command(argv):
        complain(unknown)
        return WRONG_INPUT
    set_xla_flags()
    try:
        import rich  # noqa: F401
        import tyro
        from tyro.extras import subcommand_cli_from_dict
    except ImportError as error:
        complain(f"the command line needs tyro and rich; got {error}; pip install 'jaxnn[cli]'")
        return WRONG_INPUT
    from jaxnn.cli import _config

    try:
        config: Any = subcommand_cli_from_dict(
            {name: getattr(_config, options) for name, (options, _) in COMMANDS.items()},
            prog="jaxnn",
            description=_help.DESCRIPTION,
            args=argv,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
        )
    except SystemExit as stop:
        if not stop.code:
            say(_help.epilogue(argv))
        return int(stop.code or OK)
    return _run(argv, config)


def _run(argv: list[str], config: Any) -> int:
    """Run a command; a user's mistake is one line on standard error, and so is each warning."""
    room, _, function = COMMANDS[argv[0]][1].partition(".")
    debug = getattr(config, "action", config).debug
    try:
        with SIGNALS, warnings.catch_warnings():
            warnings.filterwarnings("default", category=UserWarning)
            warnings.showwarning = lambda message, *_, **__: complain(f"note: {_help.as_options(str(message))}")
            if argv[0] == "train":
                importlib.import_module("jaxnn.cli._going_on").check_given(argv)
            code = getattr(importlib.import_module(f"jaxnn.cli.{room}"), function)(config)
        return SIGNALS.exit_code if code == OK and SIGNALS.received else code
    except KeyboardInterrupt:
        complain("terminated" if SIGNALS.terminated else "interrupted")
        return SIGNALS.exit_code
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and not isinstance(error, ERRORS):
            discard_output()  # the disk that standard output goes to may be the one that is full
        if isinstance(error, (*ERRORS, OSError)):
            complain(_help.as_said_here(str(error)))
            return NO_DOWNLOAD if isinstance(error, _errors.DownloadError) else WRONG_INPUT
        complain(
            f"this is a fault of jaxnn, not yours: {type(error).__name__}: {error}; please report it with what "
            "--debug shows"
        )
        return OWN_FAULT


def set_xla_flags() -> None:
    """Add `XLA_FLAG` to the environment, unless the user has set that option."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _help.XLA_OPTION not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_help.XLA_FLAG}".strip()


def _unknown_command(argv: list[str]) -> str | None:
    """Return what to say about a word that is no command, before anything is imported for it."""
    what, words, known = "commands", argv[:1], list(COMMANDS)
    if argv[0] == "data" and argv[1:]:
        what, words, known = "commands of data", argv[1:2], list(DATA_COMMANDS)
    if words[0].startswith("-") or words[0] in known:
        return None
    return f"{what} are {', '.join(known)}; got {words[0]!r}; {_errors.suggest(words[0], known)}, and see jaxnn --help"
