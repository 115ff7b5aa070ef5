"""Tests what all experiments share: the runner, and that the gallery says what the committed numbers say."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments import NAMES, __main__, _gallery, _report

RUN = [name for name in NAMES if (_report.RESULTS / f"{name}.json").exists()]


def test_every_experiment_is_listed_and_has_been_run():
    files = {path.stem for path in _report.RESULTS.parent.glob("*.py") if not path.stem.startswith("_")}
    assert files == set(NAMES) == set(RUN) and len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", RUN)
def test_the_committed_report_is_of_the_full_form_and_its_claim_holds(name):
    module, report = _report.load(name), _report.read(name)
    assert report["config"] == _report.json_ready(_report.dataclasses.asdict(module.Config()))
    module.check(report)
    assert module.table(report)


def test_the_page_says_what_the_numbers_say():
    assert _gallery.README.read_text() == _gallery.text()


def test_a_report_becomes_strict_json_of_short_numbers():
    found = {"a": np.float32(1 / 3), "b": jnp.arange(3), 4: (True, None, "text", np.inf), "d": [[1.0, float("nan")]]}
    ready = _report.json_ready(found)
    assert ready == {"a": 0.333333, "b": [0, 1, 2], "4": [True, None, "text", None], "d": [[1.0, None]]}
    text = _report.as_text(ready)
    assert json.loads(text) == ready and '"b": [ 0, 1, 2 ]' in text


def test_the_interval_is_that_of_student():
    values = np.random.default_rng(0).normal(size=12)
    found = _report.interval(values)
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose([found["low"], found["high"]], [low, high], rtol=1e-12)
    assert found["mean"] == values.mean() and found["std"] == values.std(ddof=1)


def test_rows_are_set_in_columns():
    assert _report.in_columns([["rate", "value"], ["small", 0.123456]]) == "rate    value\nsmall  0.1235"


def test_the_list_names_every_question(capsys):
    assert __main__.main([]) == 0
    out = capsys.readouterr().out
    assert all(_gallery.question(name) in out for name in NAMES)


def test_a_name_that_is_none_suggests_the_nearest(capsys):
    assert __main__.main(["per_exmple"]) == 2
    assert "there is no experiment 'per_exmple'; did you mean per_example?" in capsys.readouterr().out


@pytest.mark.parametrize("holds", [True, False])
def test_a_claim_that_fails_is_told_after_the_numbers_are_kept(holds, monkeypatch, tmp_path, capsys):
    from matplotlib.figure import Figure

    class Module:
        """Is two at least one? An experiment of two lines."""

        Config = QUICK = _report.dataclasses.make_dataclass("Config", [("size", int, 2)], frozen=True)
        run = staticmethod(lambda config: {"size": config.size})
        table = answer = staticmethod(lambda report: f"size {report['size']}")
        draw = staticmethod(lambda report: Figure())

        @staticmethod
        def check(report):
            assert report["size"] >= (1 if holds else 3), "it is large"

    Module.QUICK = Module.Config(size=2)
    monkeypatch.setattr(_report, "load", lambda name: Module)
    monkeypatch.setattr(__main__, "load", lambda name: Module)
    monkeypatch.setattr(__main__, "question", lambda name: "Is two at least one?")
    monkeypatch.setattr(__main__, "RESULTS", tmp_path)
    assert __main__.run_one("two", []) == (0 if holds else 1)
    out = capsys.readouterr().out
    assert ("its claim does not hold: it is large" in out) is not holds
    assert json.loads((tmp_path / "two.json").read_text())["size"] == 2 and (tmp_path / "two.png").exists()
