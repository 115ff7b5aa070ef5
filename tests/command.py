"""The command line run in this process, as tests want it: exit code and what was printed."""

import contextlib
import io
import json
import os
from types import SimpleNamespace

from jaxnn import cli


def run(*args):
    """Return exit code, standard output and standard error of the command, and leave the environment as it was.

    Lines such as "drawing ...", which tell a slow machine's user that work goes on, are left out.
    """
    out, err = io.StringIO(), io.StringIO()
    flags = os.environ.get("XLA_FLAGS")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main([str(arg) for arg in args])
    finally:
        os.environ.pop("XLA_FLAGS", None)
        if flags is not None:
            os.environ["XLA_FLAGS"] = flags
    lines = [line for line in err.getvalue().splitlines(keepends=True) if not line.endswith(" ...\n")]
    return SimpleNamespace(code=code, out=out.getvalue(), err="".join(lines))


def read_json(path):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)
