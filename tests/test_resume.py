"""fit with a folder: it goes on to the bits of a run never interrupted, and refuses what is another run."""

import errno
import functools
import inspect
import json
import os
import re
import shutil
import signal
import threading
import time
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from compiles import jax_log
from small import HOLD_OUT, OBJECTIVE, PARAMS, PLAN, TRAIN, bits, rows_of

import jaxnn
from jaxnn import (
    Batch,
    CheckpointError,
    FullBatch,
    MiniBatch,
    Status,
    Stochastic,
    _facts,
    _fit,
    _spec,
    _whole,
)
from jaxnn._models import kernel_mask
from jaxnn.checkpoint import Checkpoints, _folder, _generations, read


@pytest.fixture
def pieces(monkeypatch):
    """Fix how many steps a piece takes, and after which piece Ctrl-C is pressed."""

    def fix(size=1, stop=None):
        class Pace:
            count, steps = 0, size

            def update(self, taken, now):
                self.count += 1
                if self.count == stop:
                    signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(_fit, "Pace", Pace)

    return fix


def same(a, b):
    """Whether two runs cannot be told from each other, but by the clock."""
    texts = [(r.status, r.best_epoch, r.message, int(r.state.misses)) for r in (a, b)]
    trees = [bits((r.state, r.params, rows_of(r.history))) for r in (a, b)]
    return texts[0] == texts[1] and trees[0] == trees[1] and len(a.history.seconds) == len(a.history.epoch)


def check_clock(history):
    assert history.seconds[0] == 0 and (np.diff(history.seconds) >= 0).all()


def listing(folder):
    """Everything that a look at a folder can tell, but when it was looked at."""
    return sorted((p.name, p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir())


def wait_until(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it never happened")


def saved_only(folder):
    """The files of a folder in which nothing but generations may be."""
    assert {path.suffix for path in folder.iterdir()} <= {".safetensors"}
    return Checkpoints(folder).paths()


# The same bits, wherever the run was interrupted.


class Case(NamedTuple):
    """One kind of run: what `fit` is given, and how it is known to end."""

    optimizer: Any
    plan: Any
    learning_rate: float | None
    max_epochs: int
    objective: Any = OBJECTIVE
    params: Any = PARAMS
    train: Any = TRAIN
    hold_out: Any = HOLD_OUT
    options: Any = {}  # noqa: RUF012  (never changed)
    status: Status = Status.MAX_EPOCHS

    def fit(self, **options):
        options = {"patience": None, "learning_rate": self.learning_rate, "max_epochs": self.max_epochs} | (
            self.options | options
        )
        return jaxnn.fit(
            self.objective, self.optimizer, self.params, self.train, self.hold_out, plan=self.plan, **options
        )


SCHEDULED = optax.chain(
    optax.clip_by_global_norm(0.5), optax.adamw(optax.cosine_decay_schedule(0.1, 12), mask=kernel_mask)
)


def log_prob(params, x, y):
    """A softmax regression without a model."""
    return jax.nn.log_softmax(x @ params["w"])[y]


CASES = {
    "sgd, all examples": Case(optax.sgd, FullBatch(), 0.5, 8),
    "adam, a ragged last batch, stopped early": Case(
        optax.adam, PLAN, 0.5, 20, options={"patience": 2, "min_delta": 0.01}, status=Status.STOPPED_EARLY
    ),
    "adam, without a hold-out": Case(optax.adam, PLAN, 0.1, 3, hold_out=None),
    "a chain with a schedule, single examples": Case(
        SCHEDULED, Stochastic(), None, 2, train=Batch(small.X[:6], small.Y[:6])
    ),
    "momentum, with replacement, weights, a sum, accuracy": Case(
        functools.partial(optax.sgd, momentum=0.9),
        MiniBatch(8, replacement=True),
        0.02,
        3,
        train=TRAIN._replace(weight=np.linspace(0, 2, 20, dtype=np.float32)),
        options={"monitor": "accuracy", "aggregate": "sum"},
    ),
    "a function of the user's": Case(
        optax.sgd, PLAN, 0.3, 3, objective=jaxnn.from_function(log_prob), params={"w": jnp.zeros((3, 3))}
    ),
}


def check_every_piece(case, pieces, tmp_path):
    """Interrupt a run after each of its pieces, and compare what it goes on to with a run never interrupted."""
    pieces()
    progress = []
    whole = case.fit(progress=progress.append)
    assert whole.status == case.status and len(progress) > 5
    for stop in range(1, len(progress)):
        pieces(stop=stop)
        folder = tmp_path / str(stop)
        half = case.fit(checkpoint=folder)
        assert half.status == Status.INTERRUPTED
        assert bits(rows_of(half.history)) == bits(rows_of(whole.history)[: len(half.history.epoch)])
        pieces(size=1 + stop % 3)
        with jax_log() as log:
            rest = case.fit(checkpoint=folder)
        assert same(rest, whole) and log.traced("advance") == 0  # what is read back needs no other program
        assert (rest.history.seconds[: len(half.history.epoch)] == half.history.seconds).all()
        check_clock(rest.history)
    return whole


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_run_interrupted_after_any_step_goes_on_to_the_same_bits(case, pieces, tmp_path):
    check_every_piece(case, pieces, tmp_path)


def test_a_run_in_double_precision_goes_on_to_the_same_bits(pieces, tmp_path, x64):
    case = Case(optax.sgd, FullBatch(), 0.5, 6, params=small.MODEL.init(1, dtype="float64"))
    whole = check_every_piece(case, pieces, tmp_path)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(whole.params)} == {"float64"}
    assert read(Checkpoints(tmp_path / "1").paths()[-1]).arrays["rows"].dtype == "float64"


def test_the_comparison_of_runs_can_fail():
    whole = small.fit(3)
    history = whole.history._replace(log_likelihood=np.nextafter(whole.history.log_likelihood, 0))
    others = [
        small.fit(4),
        small.fit(3, key=1),
        replace(whole, history=history),
        replace(whole, state=whole.state._replace(misses=whole.state.misses + 1)),
    ]
    assert same(whole, small.fit(3)) and not any(same(whole, other) for other in others)


def test_a_run_interrupted_after_every_step_ends_at_the_same_bits(pieces, tmp_path):
    case = CASES["adam, a ragged last batch, stopped early"]
    whole = case.fit()
    pieces(stop=1)
    seconds = [0]
    while True:
        result = case.fit(checkpoint=Checkpoints(tmp_path, keep=1))
        check_clock(result.history)
        progress = read(saved_only(tmp_path)[-1]).info["progress"]
        assert progress["seconds"] > seconds[-1] >= 0 and result.history.seconds[-1] <= progress["seconds"]
        seconds.append(progress["seconds"])
        if result.status != Status.INTERRUPTED:
            break
    starts = len(seconds) - 1
    assert starts == len(whole.history.epoch[1:]) * small.STEPS and same(result, whole)


def test_saving_all_the_time_changes_no_bit_and_every_checkpoint_goes_on_to_the_same_bits(pieces, tmp_path):
    whole = small.fit(6)
    pieces()
    folder = tmp_path / "all"

    def wait_for_a_save(progress):
        wait_until(lambda: not any(thread.name == "checkpoint" for thread in threading.enumerate()))

    result = small.fit(6, checkpoint=Checkpoints(folder, keep=1000, every=0), progress=wait_for_a_save)
    assert same(result, whole)
    steps = []
    for path in saved_only(folder):
        progress = read(path).info["progress"]
        steps.append(progress["epoch"] * small.STEPS + progress["step"])
        alone = tmp_path / path.stem
        alone.mkdir()
        shutil.copy(path, alone)
        rest = small.fit(6, checkpoint=alone)
        assert bits((rest.state, rest.params)) == bits((whole.state, whole.params))
        assert bits(rows_of(rest.history)) == bits(rows_of(whole.history))
    assert steps == list(range(1, 18 + 1))


def test_a_save_under_way_does_not_see_the_steps_taken_meanwhile(pieces, tmp_path, monkeypatch):
    pieces()
    write, seen = _generations.write_tensors, []

    def late(handle, named, head):
        wait_until(lambda: len(seen) >= 9 or Checkpoints(tmp_path).paths())  # the first one waits for the ninth piece
        write(handle, named, head)

    monkeypatch.setattr(_generations, "write_tensors", late)
    whole = small.fit(6, checkpoint=Checkpoints(tmp_path, keep=1000, every=0), progress=seen.append)
    first = Checkpoints(tmp_path).paths()[0]
    progress = read(first).info["progress"]
    assert (progress["epoch"], progress["step"]) == (0, 1)  # the piece after which it began
    for path in Checkpoints(tmp_path).paths()[1:]:
        path.unlink()
    monkeypatch.undo()
    assert bits(small.fit(6, checkpoint=tmp_path).state) == bits(whole.state)


# Another run is refused; the same one may go further.

OTHER = jaxnn.Mlp((3, 5, 3))
CLASSES = jaxnn.Mlp((3, 4, 4))
BFLOAT = small.MODEL.init(1, dtype="bfloat16")
_x = small.X[:20].copy()
_x[13, 2] = np.nextafter(_x[13, 2], 9)


def of(model):
    return {"objective": jaxnn.LogLikelihood(model, jaxnn.categorical), "params": model.init(1)}


def as_a_function(params, x, y):
    """The same objective, by other means."""
    return jaxnn.categorical.log_prob(small.MODEL.apply(params, x), y)


def run(folder=None, objective=OBJECTIVE, optimizer=optax.adam, params=PARAMS, train=TRAIN, hold_out=HOLD_OUT, **more):
    options = {"learning_rate": 0.1, "plan": PLAN, "patience": None, "max_epochs": 2} | more
    return jaxnn.fit(objective, optimizer, params, train, hold_out, checkpoint=folder, **options)


DIFFERENCES = {
    "layer sizes": (of(OTHER), ["objective LogLikelihood", r"4, .*5, ", r"0\.kernel is float32\[3, 4\], not .*3, 5"]),
    "another class": (of(CLASSES), ["objective", r"state\.params\.1\.bias is float32\[3\], not float32\[4\]"]),
    "bfloat16": ({"params": BFLOAT}, ["params SHA", r"state\.params\.0\.kernel is float32\[3, 4\], not bfloat16"]),
    "an activation": (of(jaxnn.Mlp((3, 4, 3), jaxnn.relu)), ["objective LogLikelihood.*relu.*, was .*tanh"]),
    "an objective": (
        {"objective": jaxnn.from_function(as_a_function)}, ["objective .*as_a_function.*, was LogLik"],
    ),
    "an optimizer": ({"optimizer": optax.sgd}, ["optimizer .*sgd.*, was .*adam", "opt_state.* not expected"]),
    "an option of the optimizer": (
        {"optimizer": functools.partial(optax.adam, b1=0.8)}, [r"optimizer .*b1.*0\.8.*, was .*adam"],
    ),
    "a learning rate": ({"learning_rate": 0.2}, [r"learning_rate 0\.2, was 0\.1"]),
    "a plan": ({"plan": MiniBatch(9)}, [r"plan MiniBatch\(size=9.*, was MiniBatch\(size=8"]),
    "a monitor": ({"monitor": "accuracy"}, ["monitor accuracy, was log_likelihood"]),
    "an aggregate": ({"aggregate": "sum"}, ["aggregate sum, was mean"]),
    "a penalty": (
        {"objective": jaxnn.LogLikelihood(small.MODEL, jaxnn.categorical, l2=0.01)}, [r"l2=0\.0(1|09+).*, was"],
    ),
    "one bit of the data": ({"train": TRAIN._replace(x=_x)}, ["train 20 examples, SHA-256 .*, was 20 examples"]),
    "a label": ({"train": TRAIN._replace(y=TRAIN.y[::-1])}, ["train 20 examples"]),
    "weights": ({"train": TRAIN._replace(weight=np.ones(20, np.float32))}, ["train 20 examples"]),
    "a hold-out": ({"hold_out": Batch(small.X[21:], small.Y[21:])}, ["hold_out 9 examples, .*, was 10 examples"]),
    "no hold-out": ({"hold_out": None}, ["hold_out none, was 10 examples"]),
    "a seed": ({"key": 1}, ["key SHA-256 .*, was SHA-256"]),
    "initial parameters": ({"params": small.MODEL.init(2)}, ["params SHA-256 .*, was SHA-256"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a run of two epochs, for tests that only look at it."""
    folder = tmp_path_factory.mktemp("saved")
    run(folder)
    return folder


def refused(saved, **options):
    """Return the message by which a run is refused, and check that nothing happened."""
    before = listing(saved)
    with jax_log() as log, pytest.raises(CheckpointError) as error:
        run(saved, **options)
    assert log.traced("advance") == 0 and log.compiled("advance") == 0
    assert listing(saved) == before
    return str(error.value)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_another_run_is_refused_and_the_difference_is_named(difference, saved):
    options, patterns = DIFFERENCES[difference]
    message = refused(saved, **options)
    assert message.startswith("fit: the folder holds this very run; got ") and str(saved) in message
    assert message.endswith("or start anew with Checkpoints(folder, resume=False)")
    for pattern in patterns:
        assert re.search(pattern, message), message


def test_every_difference_is_named_at_once(saved):
    message = refused(
        saved, train=TRAIN._replace(x=_x), hold_out=None, key=3, learning_rate=0.3, plan=FullBatch(), aggregate="sum",
        params=small.MODEL.init(5), optimizer=functools.partial(optax.adam, b2=0.9),
    )  # fmt: skip
    found = message.partition("; got ")[2].split("; ")
    assert [text.split()[0] for text in found[:-1]][:8] == [
        "optimizer", "learning_rate", "plan", "aggregate", "train", "hold_out", "params", "key",
    ]  # fmt: skip


def clipped(clip=1.0, rate=0.1, **options):
    return optax.chain(optax.clip(clip), optax.adam(rate, **options))


def test_a_built_optimizer_with_other_numbers_is_refused(tmp_path):
    run(tmp_path, optimizer=clipped(), learning_rate=None, plan=FullBatch())
    changed = [{"rate": 0.2}, {"clip": 2.0}, {"b1": 0.8}, {"rate": optax.cosine_decay_schedule(0.1, 5)}]
    messages = [refused(tmp_path, optimizer=clipped(**o), learning_rate=None, plan=FullBatch()) for o in changed]
    assert all("got optimizer " in message for message in messages)
    run(tmp_path, optimizer=clipped(), learning_rate=None, plan=FullBatch())  # the same, built anew


def test_more_epochs_go_on_to_the_bits_of_the_longer_run(tmp_path):
    small.fit(2, checkpoint=tmp_path)
    assert same(small.fit(5, checkpoint=tmp_path), small.fit(5))


def test_more_patience_goes_on_to_the_bits_of_the_more_patient_run(pieces, tmp_path):
    case = CASES["adam, a ragged last batch, stopped early"]
    short, long = case.fit(checkpoint=tmp_path), case.fit(patience=5)
    assert short.status == Status.STOPPED_EARLY and len(short.history.epoch) < len(long.history.epoch)
    assert same(case.fit(patience=5, checkpoint=tmp_path), long)


def test_another_min_delta_is_taken_from_there_on(tmp_path):
    half = small.fit(2, patience=1, checkpoint=tmp_path)
    rest = small.fit(20, patience=1, min_delta=10.0, checkpoint=tmp_path)
    assert half.status == Status.MAX_EPOCHS and rest.status == Status.STOPPED_EARLY and rest.history.epoch[-1] == 3


def test_limits_may_be_numbers_of_numpy_and_jax(tmp_path):
    limits = {"max_epochs": np.int64(2), "patience": np.int32(3), "min_delta": jnp.float32(0.5)}
    fit = inspect.unwrap(jaxnn.fit)  # without the type checks that only the tests switch on
    result = fit(
        OBJECTIVE, optax.adam, PARAMS, TRAIN, HOLD_OUT, plan=PLAN, learning_rate=0.1, checkpoint=tmp_path, **limits
    )
    assert same(result, small.fit(2, patience=3, min_delta=0.5))
    found = read(saved_only(tmp_path)[-1]).info["limits"]
    assert found == {"max_epochs": 2, "patience": 3, "min_delta": 0.5}


# A folder, and how it is given.


def test_starting_anew_keeps_what_was_there_until_something_new_is_saved(tmp_path, monkeypatch):
    small.fit(2, checkpoint=Checkpoints(tmp_path, keep=3))
    small.fit(3, checkpoint=Checkpoints(tmp_path, keep=3))
    old = listing(tmp_path)
    assert len(old) == 2
    write = _generations.write_tensors

    def left():
        return [entry for entry in listing(tmp_path) if entry in old]

    def looks(*args):
        write(*args)
        assert left() == old

    monkeypatch.setattr(_generations, "write_tensors", looks)
    new = small.fit(3, key=9, checkpoint=Checkpoints(tmp_path, keep=3, resume=False))
    assert same(new, small.fit(3, key=9)) and left() == [] and len(saved_only(tmp_path)) == 1
    monkeypatch.undo()
    assert same(small.fit(4, key=9, checkpoint=tmp_path), small.fit(4, key=9))


def test_what_was_there_stays_where_a_failed_save_is_only_warned_of(tmp_path, monkeypatch):
    small.fit(2, checkpoint=tmp_path)
    old = listing(tmp_path)
    monkeypatch.setattr(_generations, "write_tensors", full)
    with pytest.warns(UserWarning, match="the run goes on"):
        small.fit(2, key=9, checkpoint=Checkpoints(tmp_path, resume=False, on_error="warn"))
    assert listing(tmp_path) == old


def test_a_second_run_in_the_folder_of_one_that_goes_on_is_refused(tmp_path):
    found = []

    def second(report):
        if report.status == "running" and not found:
            with pytest.raises(
                CheckpointError, match=r"^fit: one run at a time is saved in a folder; got folder="
            ) as e:
                small.fit(3, key=1, checkpoint=Checkpoints(tmp_path, resume=False))
            found.append(e)

    assert same(small.fit(3, checkpoint=tmp_path, progress=second), small.fit(3)) and found
    assert same(small.fit(4, checkpoint=tmp_path), small.fit(4))  # the lock is gone with the run


def test_a_folder_that_is_gone_is_a_failed_save_and_not_made_again(tmp_path):
    def move(report):
        if report.status == "running" and (tmp_path / "run").exists():
            (tmp_path / "run").rename(tmp_path / "moved")

    with pytest.raises(CheckpointError, match=r"^fit: the folder stays where it is; got .*, which is gone; ") as error:
        small.fit(3, checkpoint=tmp_path / "run", progress=move)
    assert same(error.value.result, small.fit(3)) and not (tmp_path / "run").exists()


def test_a_thread_that_cannot_start_is_a_failed_save(tmp_path, monkeypatch):
    def none_left(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", none_left)
    with pytest.raises(CheckpointError, match=r"^fit: a run can be saved; got RuntimeError: can't start") as error:
        small.fit(3, checkpoint=tmp_path)
    monkeypatch.undo()
    assert same(error.value.result, small.fit(3))


def test_the_best_of_a_folder_of_a_run_is_there(tmp_path):
    small.fit(4, checkpoint=Checkpoints(tmp_path, every=0.0, keep=3))
    paths = Checkpoints(tmp_path).paths()
    assert _folder.best_first(paths)[0] == paths[-1]  # each holds the best so far, so the newest does


def test_parameters_that_another_environment_draws_differently_are_no_other_run(tmp_path, monkeypatch):
    half = small.fit(2, checkpoint=tmp_path)
    assert half.best_epoch >= 0
    with pytest.raises(CheckpointError, match=r"got params SHA-256"):
        small.fit(4, params=small.MODEL.init(2), checkpoint=tmp_path)
    here = _facts.environment()
    monkeypatch.setattr(_facts, "environment", lambda: here | {"processor": "abacus"})
    with pytest.warns(UserWarning, match="got processor abacus, was"):
        result = small.fit(4, params=small.MODEL.init(2), checkpoint=tmp_path)
    assert same(result, small.fit(4))
    with pytest.raises(CheckpointError, match=r"got train 19 examples"):  # the rest is compared all the same
        small.fit(5, train=Batch(small.X[:19], small.Y[:19]), checkpoint=tmp_path)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="was abacus"):  # compared with the last environment, not the first
        small.fit(5, checkpoint=tmp_path)
    assert [e["processor"] for e in info_of(tmp_path)["environments"]] == [
        here["processor"],
        "abacus",
        here["processor"],
    ]
    assert {"processors", "device", "XLA_FLAGS", "jaxlib"} <= set(here)


def test_starting_anew_without_a_save_leaves_the_old_run(tmp_path, monkeypatch):
    small.fit(2, checkpoint=tmp_path)
    old = listing(tmp_path)
    monkeypatch.setattr(_generations, "write_tensors", full)
    with pytest.raises(CheckpointError):
        small.fit(2, key=9, checkpoint=Checkpoints(tmp_path, resume=False))
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError):
        small.fit(2, key=9, checkpoint=Checkpoints(tmp_path, resume=False), progress=lambda p: 1 / 0)
    assert listing(tmp_path) == old


def test_starting_anew_in_a_folder_of_something_else_works(tmp_path):
    Checkpoints(tmp_path).save({"mine": np.ones(3)})
    with pytest.raises(
        CheckpointError, match=r"^fit: the folder holds checkpoints of a run; got path=.*, saved by other means; choose"
    ):
        small.fit(2, checkpoint=tmp_path)
    assert len(Checkpoints(tmp_path).paths()) == 1
    small.fit(2, checkpoint=Checkpoints(tmp_path, resume=False))
    assert same(small.fit(3, checkpoint=tmp_path), small.fit(3))


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    for name in ("notes.txt", "model.safetensors", ".0123456789abcdef.other"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "00000099-abcd").mkdir()
    small.fit(2, checkpoint=tmp_path)
    small.fit(3, key=1, checkpoint=Checkpoints(tmp_path, resume=False))
    others = {path.name for path in tmp_path.iterdir()} - {path.name for path in Checkpoints(tmp_path).paths()}
    assert others == {"notes.txt", "model.safetensors", ".0123456789abcdef.other", "00000099-abcd"}


def test_a_run_begun_with_a_state_goes_on_by_the_same_call(tmp_path, pieces):
    half = small.fit(2)
    whole = small.fit(5)
    pieces(stop=4)
    stopped = small.fit(5, state=half.state, checkpoint=tmp_path)
    assert stopped.status == Status.INTERRUPTED
    pieces()
    result = small.fit(5, state=half.state, checkpoint=tmp_path)
    assert bits(result.state) == bits(whole.state) and result.history.epoch.tolist() == [3, 4, 5]
    before = listing(tmp_path)
    for other in (small.fit(1).state, small.fit(2, key=1).state):
        with pytest.raises(CheckpointError, match=r"^fit: the folder holds this very run; got .*begins in epoch \d"):
            small.fit(5, state=other, checkpoint=tmp_path)
    with pytest.raises(CheckpointError, match=r"begins anew, was in epoch 3, SHA-256"):
        small.fit(5, checkpoint=tmp_path)
    assert listing(tmp_path) == before
    anew = small.fit(5, state=half.state, checkpoint=Checkpoints(tmp_path, resume=False))
    assert same(anew, result)


@pytest.mark.parametrize("given", [3, b"folder", ["folder"], True, 1.5], ids=repr)
def test_what_is_no_folder_is_refused(given):
    with jax_log() as log, pytest.raises(CheckpointError, match=r"^Checkpoints: folder is a path; got folder=.*; pass"):
        small.fit(2, checkpoint=given)
    assert log.compiled() == 0


def test_a_folder_may_be_given_as_text_as_a_path_or_as_checkpoints(tmp_path):
    for number, given in enumerate((str(tmp_path), tmp_path, Checkpoints(str(tmp_path))), start=1):
        small.fit(number, checkpoint=given)
    assert same(small.fit(4, checkpoint=tmp_path), small.fit(4))


def test_a_folder_that_cannot_be_one_is_refused_before_anything_is_compiled(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    other = MiniBatch(7)  # never compiled
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with jax_log() as log, pytest.raises(CheckpointError, match=r"^(fit: the folder can be written|Checkpoints: )"):
            small.fit(2, plan=other, checkpoint=path)
        assert log.traced("advance") == 0
    assert (tmp_path / "file").read_text() == "mine"

    def forbidden(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(_whole, "write_all", forbidden)  # root may write everywhere
    with jax_log() as log, pytest.raises(CheckpointError, match=r"^fit: the folder can be written; .*Permission"):
        small.fit(2, plan=other, checkpoint=tmp_path / "new")
    assert log.traced("advance") == 0


def test_parents_of_the_folder_are_made_and_nothing_but_checkpoints_is_left(tmp_path):
    small.fit(1, checkpoint=tmp_path / "a" / "b")
    assert len(saved_only(tmp_path / "a" / "b")) == 1


def test_faults_of_the_call_are_found_before_a_folder_is_made(tmp_path):
    for options in ({"learning_rate": -1.0}, {"patience": 0}, {"train": TRAIN._replace(y=TRAIN.y[:5])}):
        with pytest.raises(ValueError):
            small.fit(**({"max_epochs": 2, "checkpoint": tmp_path / "new"} | options))
    assert not (tmp_path / "new").exists()


# Another machine.


def test_another_environment_warns_of_every_difference_and_goes_on(pieces, tmp_path, monkeypatch):
    pieces(stop=4)
    small.fit(4, checkpoint=tmp_path)
    pieces()
    here = _facts.environment()
    monkeypatch.setattr(_facts, "environment", lambda: here | {"jax": "0.0.1", "device": "abacus, 10 beads"})
    monkeypatch.setenv("XLA_FLAGS", "--xla_not_looked_at")
    with pytest.warns(UserWarning) as caught:
        result = small.fit(4, checkpoint=tmp_path)
    (warning,) = caught
    assert str(warning.message).startswith("fit: same bits need the same machine, versions and flags; got jax 0.0.1, ")
    assert f"jax 0.0.1, was {here['jax']}; device abacus, 10 beads, was {here['device']}; the" in str(warning.message)
    assert same(result, small.fit(4))


def test_other_flags_of_xla_warn(tmp_path, monkeypatch):
    small.fit(1, checkpoint=tmp_path)
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    with pytest.warns(UserWarning, match="got XLA_FLAGS --xla_cpu_enable_fast_math=true, was .*; the run goes on"):
        small.fit(1, checkpoint=tmp_path)


def test_the_environment_names_what_the_bits_depend_on():
    names = set(_facts.environment())
    assert names >= {"jaxnn", "jax", "jaxlib", "optax", "device", "processor", "XLA_FLAGS", "jax_enable_x64"}
    assert names >= {"jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable"}
    assert all(isinstance(text, str) and text for name, text in _facts.environment().items() if name != "XLA_FLAGS")


def test_a_seed_means_the_saved_stream_where_another_kind_of_key_has_become_the_default(pieces, tmp_path):
    pieces(stop=4)
    small.fit(4, checkpoint=tmp_path)
    pieces()
    with (
        jax.default_prng_impl("rbg"),
        pytest.warns(UserWarning, match="got jax_default_prng_impl rbg, was threefry2x32; the run goes on"),
    ):
        result = small.fit(4, checkpoint=tmp_path)
    assert same(result, small.fit(4)) and str(jax.random.key_impl(result.state.key)) == "threefry2x32"


def test_another_kind_of_key_is_another_run(saved):
    message = refused(saved, key=jax.random.key(0, impl="rbg"))
    assert "key SHA-256" in message and re.search(
        "state.key is a random key of threefry2x32 in .*, not a random key of rbg", message
    )


# Damage.


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_damaged_checkpoint_is_skipped_with_a_warning_and_the_one_before_gives_the_same_bits(
    damage, pieces, tmp_path
):
    for stop in (4, 3):
        pieces(stop=stop)
        small.fit(5, checkpoint=tmp_path)
    before, newest = saved_only(tmp_path)
    damage(newest)
    pieces()
    with pytest.warns(
        UserWarning, match=rf"^fit: every checkpoint is whole; got .*{newest.name}.*; took {before.name}"
    ):
        result = small.fit(5, checkpoint=tmp_path)
    assert same(result, small.fit(5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small.fit(6, checkpoint=tmp_path)  # the newest is whole again


def test_a_folder_in_which_all_is_damaged_is_no_fresh_start(tmp_path):
    small.fit(1, checkpoint=tmp_path)
    small.fit(2, checkpoint=tmp_path)
    for damage, path in zip((truncate, flip), saved_only(tmp_path), strict=True):
        damage(path)
    before = listing(tmp_path)
    with (
        jax_log() as log,
        pytest.raises(CheckpointError, match=r"^fit: the folder holds a checkpoint that is whole; got "),
    ):
        small.fit(2, checkpoint=tmp_path)
    assert listing(tmp_path) == before and log.traced("advance") == 0
    assert same(small.fit(2, checkpoint=Checkpoints(tmp_path, resume=False)), small.fit(2))


# Saves that fail.


def full(handle, named, head):
    """Write a part, then fail as a full disk does."""
    del named, head
    os.write(handle, b"a part")
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.skipif(os.name == "nt", reason="there is no such limit")
def test_a_save_that_fails_in_the_middle_ends_the_run_with_its_result_and_the_older_checkpoint(pieces, tmp_path):
    import resource

    whole = small.fit(8)
    pieces()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    calls, older = [], []

    def progress(p):
        calls.append(p)
        if len(calls) == 6:
            wait_until(lambda: Checkpoints(tmp_path).paths() and not list(tmp_path.glob(".*")))
            older.extend(listing(tmp_path))
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(older[-1][2]) // 2, limits[1]))

    try:
        with pytest.raises(
            CheckpointError, match=r"^Checkpoints\.save: the folder can be written; got .*: \[Errno 27\]"
        ) as e:
            small.fit(8, checkpoint=Checkpoints(tmp_path, every=0, keep=50), progress=progress)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    result = e.value.result
    assert isinstance(result, jaxnn.FitResult) and result.status == Status.INTERRUPTED
    assert 6 < len(calls) < 24 and older
    assert listing(tmp_path) == older  # no temporary, nothing new, and the old one untouched
    rest = small.fit(8, state=result.state)
    assert bits(rest.state) == bits(whole.state) and bits(rest.params) == bits(whole.params)
    rows = [rows_of(r.history) for r in (result, rest)]
    assert bits(np.concatenate(rows)) == bits(rows_of(whole.history))
    again = small.fit(8, checkpoint=tmp_path)
    assert same(again, whole)  # from the older checkpoint, too


def test_a_run_that_only_warns_of_failed_saves_ends_as_usual_and_saves_again_when_it_can(pieces, tmp_path, monkeypatch):
    pieces()
    whole = small.fit(8)
    write, failed, calls = _generations.write_tensors, [], []

    def sometimes_full(handle, named, head):
        if 4 <= len(calls) < 16:
            failed.append(len(calls))
            full(handle, named, head)
        write(handle, named, head)

    def progress(p):
        calls.append(p)
        time.sleep(0.01)

    monkeypatch.setattr(_generations, "write_tensors", sometimes_full)
    with pytest.warns(UserWarning) as caught:
        result = small.fit(8, checkpoint=Checkpoints(tmp_path, every=0.03, on_error="warn"), progress=progress)
    assert same(result, whole) and len(caught) == len(failed) >= 2
    for warning in caught:
        assert "No space left on device; free space or choose another (the run goes on)" in str(warning.message)
        assert os.path.basename(warning.filename) != "_resume.py"
    assert same_but_message(small.fit(8, checkpoint=tmp_path), whole) and len(saved_only(tmp_path)) == 2


def same_but_message(a, b):
    return same(replace(a, message=b.message), b)


def test_the_last_save_of_a_run_can_fail_too(tmp_path, monkeypatch):
    whole = small.fit(3)
    monkeypatch.setattr(_generations, "write_tensors", full)
    with pytest.raises(CheckpointError, match="No space left on device") as error:
        small.fit(3, checkpoint=tmp_path)
    assert same(error.value.result, whole) and saved_only(tmp_path) == []
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        result = small.fit(3, checkpoint=Checkpoints(tmp_path, on_error="warn"))
    assert same(result, whole) and len(caught) == 1 and saved_only(tmp_path) == []


def test_a_save_that_fails_leaves_the_handlers_of_signals_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(_generations, "write_tensors", full)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(CheckpointError):
        small.fit(3, checkpoint=tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# A run that is over.


@pytest.mark.parametrize("case", ["sgd, all examples", "adam, a ragged last batch, stopped early"])
def test_the_same_call_after_the_end_takes_no_step_and_returns_the_same(case, tmp_path):
    case = CASES[case]
    first = case.fit(checkpoint=tmp_path)
    pieces = []
    again = case.fit(checkpoint=tmp_path, progress=pieces.append)
    assert same_but_message(again, first) and len(pieces) == 1
    assert again.message.startswith("took no step: ") and bits(again.history) == bits(first.history)


def test_a_run_that_diverged_stays_diverged(tmp_path):
    options = {"learning_rate": 1e38, "checkpoint": tmp_path}
    with pytest.warns(RuntimeWarning, match="^diverged in epoch"):
        first = small.fit(4, **options)
    for epochs in (4, 40):
        with pytest.warns(RuntimeWarning, match="^diverged in epoch"):
            again = small.fit(epochs, **options)
        assert again.status == Status.DIVERGED and same(again, first)


def test_no_epochs_are_saved_too_and_go_on(tmp_path):
    small.fit(0, checkpoint=tmp_path)
    assert same(small.fit(2, checkpoint=tmp_path), small.fit(2))


# What a checkpoint says about its run.


def info_of(folder):
    return read(Checkpoints(folder).paths()[-1]).info


def test_the_description_of_a_run_is_json_that_says_what_it_is_and_how_far(pieces, tmp_path):
    iris = jaxnn.data.load("iris")
    train, hold_out = jaxnn.data.split(iris, (0.8, 0.2), seed=0)
    model = jaxnn.Linear(4, 3)
    pieces(stop=3)
    result = jaxnn.fit(
        jaxnn.LogLikelihood(model, jaxnn.categorical), optax.sgd, model.init(1), train, hold_out, plan=FullBatch(),
        max_epochs=9, learning_rate=0.1, min_delta=0.5, checkpoint=tmp_path,
    )  # fmt: skip
    info = info_of(tmp_path)
    assert info == json.loads(json.dumps(info, allow_nan=False))
    assert set(info) == {"what", "facts", "environments", "spec", "schema", "limits", "progress"}
    assert info["what"] == "run" and info["limits"] == {"max_epochs": 9, "patience": 10, "min_delta": 0.5}
    assert jaxnn.data.Schema.from_dict(info["schema"]) == train.schema
    assert set(info["facts"]) == {
        "objective", "optimizer", "learning_rate", "plan", "monitor", "aggregate", "train", "hold_out", "params", "key",
        "begins", "opt_state",
    }  # fmt: skip
    seconds = info["progress"].pop("seconds")
    assert seconds >= result.history.seconds[-1]
    assert info["progress"] == {"epoch": 3, "step": 0, "status": "interrupted", "best_epoch": result.best_epoch}
    assert info["environments"] == [_facts.environment()]


BUILT_IN = {
    "softmax regression": (jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical), "float32"),
    "a penalty": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 5, 2)), jaxnn.categorical, l2=0.25), "bfloat16"),
    "logistic": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 4, 1), jaxnn.tanh), jaxnn.bernoulli), "float16"),
    "regression": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 1), jaxnn.identity), jaxnn.gaussian), "float32"),
    "a scale of one": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 1)), jaxnn.Gaussian(scale=1)), "float32"),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_model_of_jaxnn_is_rebuilt_from_its_description(name):
    objective, dtype = BUILT_IN[name]
    spec = _spec.spec_of(objective, objective.model.init(0, dtype=dtype))
    back, found = _spec.objective_of(json.loads(json.dumps(spec)))
    assert back.model == objective.model and type(back.likelihood) is type(objective.likelihood)
    assert jax.tree.leaves(back) == jax.tree.leaves(objective) and found == dtype
    assert bits(back.model.init(3)) == bits(objective.model.init(3))


class MyMlp(jaxnn.Mlp):
    """A model of the user's own."""


mixed = (PARAMS[0], jax.tree.map(lambda leaf: leaf.astype("bfloat16"), PARAMS[1]))
NOT_BUILT_IN = {
    "features": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 4, 3), features=jnp.abs), jaxnn.categorical), PARAMS),
    "an activation": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 4, 3), lambda z: z**2), jaxnn.categorical), PARAMS),
    "a function": (jaxnn.from_function(log_prob), {"w": jnp.zeros((3, 3))}),
    "a scale": (jaxnn.LogLikelihood(jaxnn.Mlp((3, 4, 3)), jaxnn.Gaussian(scale=2)), PARAMS),
    "a class": (jaxnn.LogLikelihood(MyMlp((3, 4, 3)), jaxnn.categorical), PARAMS),
    "two dtypes": (OBJECTIVE, mixed),
}


@pytest.mark.parametrize("name", NOT_BUILT_IN)
def test_what_only_its_own_code_can_rebuild_has_no_description(name):
    objective, params = NOT_BUILT_IN[name]
    assert _spec.spec_of(objective, params) is None


def test_a_run_of_a_function_is_saved_without_a_description_and_arrays_without_a_schema(pieces, tmp_path):
    pieces()
    case = CASES["a function of the user's"]
    case.fit(checkpoint=tmp_path)
    info = info_of(tmp_path)
    assert info["spec"] is None and info["schema"] is None and "log_prob" in info["facts"]["objective"]


def test_a_digest_knows_names_shapes_and_dtypes():
    trees = [{"a": np.zeros((2, 3), "f4")}, {"a": np.zeros((3, 2), "f4")}, {"b": np.zeros((2, 3), "f4")},
             {"a": np.zeros((2, 3), "i4")}, {"a": np.ones((2, 3), "f4")}]  # fmt: skip
    assert len({_facts.digest(tree) for tree in trees}) == len(trees)
