"""Tests what all experiments share: the runner, and that the gallery says what the committed numbers say."""

import dataclasses
import json
from types import SimpleNamespace
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from matplotlib.figure import Figure

import jaxnn
from experiments import NAMES, __main__, _gallery, _report

RUN = [name for name in NAMES if (_report.RESULTS / f"{name}.json").exists()]


def test_every_experiment_is_listed_and_has_been_run():
    files = {path.stem for path in _report.RESULTS.parent.glob("*.py") if not path.stem.startswith("_")}
    assert files == set(NAMES) == set(RUN) and len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("name", RUN)
def test_the_committed_report_is_of_the_full_form_and_its_claim_holds(name):
    module, report = _report.load(name), _report.read(name)
    assert report["config"] == _report.json_ready(dataclasses.asdict(module.Config()))
    assert _report.fault(name, report) is None
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


def test_the_interval_over_splits_is_wider_for_the_examples_they_share():
    values = np.random.default_rng(0).normal(size=10)
    alone, shared = _report.interval(values), _report.interval(values, overlap=0.25)
    ratio = (shared["high"] - shared["mean"]) / (alone["high"] - alone["mean"])
    np.testing.assert_allclose(ratio, np.sqrt((1 / 10 + 0.25) / (1 / 10)))


def test_rows_are_set_in_columns():
    assert _report.in_columns([["rate", "value"], ["small", 0.123456]]) == "rate    value\nsmall  0.1235"


def test_the_list_names_every_question(capsys):
    assert __main__.main([]) == 0
    out = capsys.readouterr().out
    assert all(_gallery.question(name) in out for name in NAMES)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["per_exmple"], "there is no experiment 'per_exmple'; did you mean per_example?"),
        (["zzz"], "there is no experiment 'zzz'; python -m experiments lists them"),
        (["all", "--quick"], "all takes no options; got --quick; leave them out, or name one experiment"),
        (["per_example", "--redraw", "--top", "3"], "--redraw goes with --quick or alone; got --top 3; leave it out"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, why, capsys):
    assert __main__.main(arguments) == 2
    assert capsys.readouterr().err == f"experiments: {why}\n"


class Toy:
    """An experiment of two lines, whose claim is that its size is at least one."""

    Config = dataclasses.make_dataclass("Config", [("size", int, 2)], frozen=True)
    QUICK = Config(size=1)
    drawn: ClassVar[list] = []
    interrupts = False

    @classmethod
    def run(cls, config):
        if cls.interrupts:
            _report.finished(SimpleNamespace(status=np.array([1, jaxnn.Status.INTERRUPTED])))
        return {"size": config.size if config.size < 100 else np.inf}

    @staticmethod
    def table(report):
        return f"size {report['size']}"

    answer = table

    @classmethod
    def draw(cls, report):
        cls.drawn.append(report["size"])
        return Figure()

    @staticmethod
    def check(report):
        assert report["size"] >= 1, "it is large"


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The only experiment there is, `toy`, with its results and its page in a folder of its own."""
    monkeypatch.setattr(Toy, "drawn", [])
    for module in (_report, _gallery, __main__):
        monkeypatch.setattr(module, "load", lambda name: Toy)
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    for module in (_gallery, __main__):
        monkeypatch.setattr(module, "NAMES", ("toy",))
        monkeypatch.setattr(module, "README", tmp_path / "README.md")
        monkeypatch.setattr(module, "question", lambda name: "Is two at least one?")
    monkeypatch.setattr(__main__, "CHANGED", tmp_path / "changed")
    monkeypatch.setattr(_gallery, "read", lambda name: _report.read(name, tmp_path))
    return tmp_path


def test_a_run_keeps_its_numbers_and_says_its_answer(toy, capsys):
    assert __main__.main(["toy"]) == 0
    report = _report.read("toy", toy)
    assert report["config"] == {"size": 2} and report["size"] == 2 and report["made"]["jax"]
    assert (toy / "toy.png").exists() and "size 2" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "size"), [(["--quick"], 1), (["--size", "5"], 5)])
def test_any_but_the_full_form_leaves_the_results_alone(toy, options, size):
    assert __main__.main(["toy", *options]) == 0
    assert _report.read("toy", toy / "changed")["size"] == size and not (toy / "toy.json").exists()


@pytest.mark.parametrize(("size", "why"), [("0", "it is large"), ("100", "a number is not finite")])
def test_a_claim_that_fails_is_told_after_the_numbers_are_kept(toy, size, why, capsys):
    assert __main__.main(["toy", "--size", size]) == 1
    assert f"toy: its claim does not hold: {why}" in capsys.readouterr().out
    assert (toy / "changed" / "toy.json").exists() and (toy / "changed" / "toy.png").exists()


def test_a_picture_is_drawn_again_from_its_numbers(toy, capsys):
    assert __main__.main(["toy", "--redraw"]) == 2
    assert f"got no {toy / 'toy.json'}; run the experiment first" in capsys.readouterr().err
    __main__.main(["toy", "--quick"])
    assert __main__.main(["toy", "--redraw", "--quick"]) == 0
    assert Toy.drawn == [1, 1]


def test_an_interrupted_fit_leaves_no_report(toy, monkeypatch):
    monkeypatch.setattr(Toy, "interrupts", True)
    with pytest.raises(KeyboardInterrupt):
        __main__.main(["toy"])
    assert not (toy / "toy.json").exists()
    done = SimpleNamespace(status=jaxnn.Status.MAX_EPOCHS)
    assert _report.finished(done) is done


def test_all_runs_each_in_a_process_and_builds_the_page(toy, monkeypatch, capsys):
    codes = iter([0, 1, __main__.INTERRUPTED])

    def in_this_process(command, check):
        assert command[1:] == ["-m", "experiments", "toy"]
        __main__.main(["toy"])
        return SimpleNamespace(returncode=next(codes))

    monkeypatch.setattr(__main__.subprocess, "run", in_this_process)
    assert __main__.main(["all"]) == 0
    page = (toy / "README.md").read_text()
    assert "**Is two at least one?**" in page and "size 2\n" in page and "(results/toy.png)" in page
    assert __main__.main(["all"]) == 1 and "failed: toy" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt):
        __main__.main(["all"])


def test_the_page_does_not_repeat_a_claim_that_fails(toy):
    _report.perform("toy", Toy.Config(size=0), toy)
    assert __main__.main(["gallery"]) == 0
    assert "Its claim does not hold: it is large." in (toy / "README.md").read_text()


def test_a_broken_experiment_does_not_hide_the_list(monkeypatch, capsys):
    monkeypatch.setattr(_report.importlib, "import_module", lambda name: 1 / 0)
    assert __main__.main([]) == 0
    assert NAMES[0] in capsys.readouterr().out
