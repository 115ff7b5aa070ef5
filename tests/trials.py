"""Runs the quick form of an experiment once, and holds it to the contract in `experiments/__init__.py`."""

import copy
import dataclasses
import functools
import json
import tempfile
from pathlib import Path

import pytest

from experiments._gallery import question
from experiments._report import fault, load, perform


@functools.cache
def quick(name):
    """Return the report of an experiment's quick form; its table, answer, picture and claim are tried on the way."""
    module = load(name)
    assert dataclasses.is_dataclass(module.Config) and isinstance(module.QUICK, module.Config)
    assert "?" in question(name)
    assert "\nExpected, before the run" in module.__doc__ and "\nFound" in module.__doc__
    with tempfile.TemporaryDirectory() as folder:
        report = perform(name, module.QUICK, Path(folder))
        assert fault(name, report) is None
        assert json.loads((Path(folder) / f"{name}.json").read_text()) == report
        assert (Path(folder) / f"{name}.png").stat().st_size > 10_000
    sentence = module.answer(report)
    assert sentence.endswith(".") and "\n" not in sentence and any(c.isdigit() for c in sentence)
    return report


def must_fail(name, changes, match):
    """Assert that the claim of an experiment fails, with this message, once its quick report says otherwise.

    `changes` are new values by the path to them: {"best.rate": 0.0, "errors.3": 1.0}.
    """
    report = copy.deepcopy(quick(name))
    for path, value in changes.items():
        *above, last = path.split(".")
        place = report
        for key in above:
            place = place[int(key) if isinstance(place, list) else key]
        place[int(last) if isinstance(place, list) else last] = value
    with pytest.raises(AssertionError, match=match):
        load(name).check(report)
