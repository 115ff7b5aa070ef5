"""fit: the bits of ascend in pieces, every ending, Ctrl-C, going on, progress, and the errors of fit and ascend."""

import inspect
import io
import os
import re
import signal
import subprocess
import sys
import threading
import warnings

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
    ConfigError,
    DtypeError,
    NonFiniteError,
    ShapeError,
    Status,
    _fit,
)


@pytest.fixture
def piece_of(monkeypatch):
    """Fix how many steps a piece of a fit takes: the numbers given, over and over."""

    def fix(*sizes):
        class Pace:
            def __init__(self):
                self.sizes, self.steps = list(sizes), sizes[0]

            def update(self, taken, now):
                self.sizes.append(self.sizes.pop(0))
                self.steps = self.sizes[0]

        monkeypatch.setattr(_fit, "Pace", Pace)

    return fix


# The same bits.


@pytest.mark.parametrize("sizes", [None, (1,), (2,), (3,), (5, 1), (1000,)], ids=str)
@pytest.mark.parametrize("patience", [None, 2])
def test_history_and_state_are_those_of_ascend_bit_for_bit_wherever_pieces_end(sizes, patience, piece_of):
    if sizes:
        piece_of(*sizes)
    result = small.fit(20, patience=patience, learning_rate=0.5)
    state, history = small.ascend(small.start(0.5), 20, patience=patience)
    assert bits(result.state) == bits(state) and bits(result.params) == bits(state.best.params)
    assert bits(rows_of(result.history)) == bits(rows_of(history))
    assert all(isinstance(column, np.ndarray) for column in result.history)
    assert (result.status, result.best_epoch) == (state.status, state.best.epoch)
    assert (result.status == Status.STOPPED_EARLY) == (patience == 2)  # both endings are seen


def test_without_a_hold_out_it_is_ascend_too(piece_of):
    piece_of(2)
    result = small.fit(4, hold_out=None, patience=10)  # patience has nothing to watch, and is let be
    state, history = small.ascend(small.start(), 4, hold_out=None)
    assert bits(result.state) == bits(state) and bits(rows_of(result.history)) == bits(rows_of(history))
    assert result.status == Status.MAX_EPOCHS and result.best_epoch == 4


def test_a_comparison_of_bits_can_fail():
    history = small.fit(2).history
    nudged = history._replace(log_likelihood=np.nextafter(history.log_likelihood, 0))
    assert bits(rows_of(history)) != bits(rows_of(nudged))


# Endings.


def check_best(result):
    """The parameters returned are those of the best row, whatever ended the run."""
    column = result.history.hold_out_log_likelihood
    assert result.best_epoch == int(np.nanargmax(column))
    found = jaxnn.evaluate(OBJECTIVE, result.params, HOLD_OUT)
    np.testing.assert_allclose(found.log_likelihood, column[result.best_epoch], rtol=1e-6)
    assert bits(result.params) == bits(result.state.best.params)


def test_out_of_epochs():
    result = small.fit(7)
    assert result.status == Status.MAX_EPOCHS and str(result.status) == "max_epochs"
    assert result.message == f"ran all 7 epochs; returned epoch {result.best_epoch}"
    check_best(result)


def test_stopped_early():
    result = small.fit(60, learning_rate=0.3, patience=3)
    epochs = result.best_epoch + 3
    assert result.status == Status.STOPPED_EARLY and result.history.epoch[-1] == epochs < 60
    assert result.message == (
        f"stopped early after epoch {epochs}: no gain on the hold-out in 3 epochs; returned epoch {result.best_epoch}"
    )
    check_best(result)


def test_diverged_warns_with_the_rate_to_try_next_and_returns_the_best():
    good = small.fit(3)
    with pytest.warns(RuntimeWarning, match=r"diverged in epoch \d: .* is not finite; .*; try learning_rate=1e\+37$"):
        result = small.fit(9, state=good.state, learning_rate=1e38)
    assert result.status == Status.DIVERGED and bits(result.state.best) == bits(good.state.best)
    assert result.best_epoch == good.best_epoch and result.history.epoch[-1] < 9
    with pytest.warns(RuntimeWarning, match="try a tenth of the learning rate"):
        made = jaxnn.fit(OBJECTIVE, optax.sgd(1e38), PARAMS, TRAIN, plan=PLAN, max_epochs=3)
    assert made.best_epoch == 0 and bits(made.params) == bits(PARAMS)


def test_a_run_in_which_nothing_beat_the_initial_parameters_says_so_and_names_a_rate():
    result = small.fit(9, learning_rate=1000.0, patience=2)
    assert result.best_epoch == 0 and result.message == (
        "stopped early after epoch 2: no gain on the hold-out in 2 epochs; returned epoch 0; "
        "nothing beat the initial parameters: try learning_rate=100"
    )
    assert small.fit(9, learning_rate=0.0, patience=2).message.endswith("returned epoch 0")


def test_initial_parameters_without_a_finite_log_likelihood_are_no_matter_of_the_rate():
    huge = jax.tree.map(lambda leaf: jnp.full_like(leaf, 3e38), PARAMS)
    with pytest.warns(RuntimeWarning, match="^diverged before the first step: .* initial parameters is not finite"):
        result = small.fit(5, params=huge)
    assert result.status == Status.DIVERGED and result.history.epoch.tolist() == [0]


def test_no_epochs_return_the_initial_parameters():
    result = small.fit(0)
    assert result.status == Status.MAX_EPOCHS and bits(result.params) == bits(PARAMS)
    assert result.history.epoch.tolist() == [0] and result.message == "ran all 0 epochs; returned epoch 0"


def test_seconds_run_on_and_rows_are_plain_numbers():
    result = small.fit(3)
    assert result.history.seconds[0] == 0 and (np.diff(result.history.seconds) >= 0).all()
    rows = result.history.rows()
    assert len(rows) == 4 and all(isinstance(v, int | float) for row in rows for v in row.values())


# Ctrl-C.


def press_at(call, times=1):
    """Return a progress function that presses Ctrl-C at so manyth call."""
    calls = []

    def progress(p):
        calls.append(p)
        if len(calls) == call:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    return progress, calls


def test_the_first_interrupt_returns_the_best_so_far_and_a_state_that_goes_on_to_the_same_bits(piece_of):
    piece_of(2)
    whole = small.fit(7)
    old = signal.getsignal(signal.SIGINT)
    progress, calls = press_at(4)
    first = small.fit(7, progress=progress)
    assert signal.getsignal(signal.SIGINT) is old
    assert first.status == Status.INTERRUPTED and len(calls) == 5  # the piece that ran was finished
    assert (first.state.epoch, first.state.step) == (3, 1) and calls[-1].status == "interrupted"
    assert first.message == (
        f"interrupted in epoch 4; returned epoch {first.best_epoch}; go on with fit(..., state=result.state)"
    )
    check_best(first)
    second = small.fit(7, state=first.state, learning_rate=None)
    assert bits(second.state) == bits(whole.state) and second.status == Status.MAX_EPOCHS
    rows = [rows_of(r.history) for r in (first, second)]
    assert bits(np.concatenate(rows)) == bits(rows_of(whole.history))


def test_a_second_interrupt_raises_and_the_old_handler_comes_back():
    def mine(number, frame):
        raise AssertionError("not while fit runs")

    old = signal.signal(signal.SIGINT, mine)
    try:
        with pytest.raises(KeyboardInterrupt):
            small.fit(7, progress=press_at(1, times=2)[0])
        assert signal.getsignal(signal.SIGINT) is mine

        def broken(progress):
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            small.fit(7, progress=broken)
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, old)


CHILD = """
import sys, jaxnn, optax, numpy as np
rng = np.random.default_rng(0)
data = jaxnn.Batch(rng.normal(size=(64, 2)).astype("float32"), rng.integers(0, 2, 64))
objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 2), jaxnn.categorical)
said = []
def progress(p):
    if not said:
        said.append(print("training", flush=True))
result = jaxnn.fit(objective, optax.sgd, objective.model.init(0), data, data, max_epochs=10**6, patience=None,
                   learning_rate=1e-4, progress=progress)
print(result.status, result.best_epoch == result.state.best.epoch, np.isfinite(result.params[0].kernel).all())
"""


def test_ctrl_c_from_outside_ends_a_running_fit_with_a_result():
    root = os.path.dirname(os.path.dirname(jaxnn.__file__))
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        assert child.stdout.readline() == "training\n"
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
    finally:
        child.kill()
    assert (child.returncode, out) == (0, "interrupted True True\n")


def test_fit_runs_in_a_thread_where_nobody_can_handle_signals():
    results = []
    thread = threading.Thread(target=lambda: results.append(small.fit(3)))
    thread.start()
    thread.join()
    assert bits(results[0].state) == bits(small.fit(3).state)


# Going on.


def test_a_state_goes_on_and_a_new_rate_is_data():
    whole, half = small.fit(6), small.fit(2)
    with jax_log() as log:
        rest = small.fit(6, state=half.state, params=None)
        slower = small.fit(6, state=half.state, learning_rate=0.01)
    assert log.traced("advance") == 0
    assert rest.history.learning_rate.tolist() == [np.float32(0.1)] * 4
    assert bits(rest.state) == bits(whole.state) and rest.history.epoch.tolist() == [3, 4, 5, 6]
    assert slower.history.learning_rate.tolist() == [np.float32(0.01)] * 4
    assert slower.history.update_ratio[0] < 0.5 * rest.history.update_ratio[0]


def test_max_epochs_counts_those_of_the_state():
    half = small.fit(2)
    again = small.fit(2, state=half.state)
    assert bits(again.state.params) == bits(half.state.params) and again.status == Status.MAX_EPOCHS
    assert len(again.history.epoch) == 0


def test_a_state_that_has_not_begun_begins():
    assert bits(small.fit(3, state=small.start(0.1)).state) == bits(small.fit(3).state)


# Progress.


def test_progress_says_how_far_the_run_is(piece_of):
    piece_of(2)
    seen = []
    result = small.fit(3, progress=seen.append)
    assert [p.epoch for p in seen] == pytest.approx([2 / 3, 4 / 3, 2, 8 / 3, 3])
    assert [p.status for p in seen] == ["running"] * 4 + ["max_epochs"] and {p.max_epochs for p in seen} == {3}
    assert [p.row["epoch"] for p in seen] == [0, 1, 2, 2, 3]
    assert seen[-1].row["log_likelihood"] == result.history.log_likelihood[-1]
    assert seen[-1].best_epoch == result.best_epoch and seen[0].seconds <= seen[-1].seconds


def test_progress_true_draws_on_standard_error_and_none_is_quiet_away_from_a_terminal(capsys, monkeypatch):
    small.fit(3)
    small.fit(3, progress=False)
    assert capsys.readouterr() == ("", "")
    small.fit(3, progress=True)
    out, err = capsys.readouterr()
    last = err.rstrip("\n").split("\r")[-1]
    assert out == "" and err.endswith("\n") and err.count("\n") == 1
    assert re.search(
        r"━{16} epoch 3/3  log likelihood -[\d.]+  hold-out -[\d.]+  accuracy [\d.]+  update [\d.]+% of w  [\d.]+ s"
        r"  max_epochs, best epoch \d$",
        last,
    )
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    small.fit(3)
    assert "epoch 3/3" in terminal.getvalue()


def test_the_line_of_a_run_that_goes_on_has_no_figures_before_its_first_epoch_ends(capsys, piece_of):
    piece_of(1)
    half = small.fit(1)
    small.fit(2, state=half.state, progress=True)
    err = capsys.readouterr().err
    assert "epoch 2/2" in err and "nan" not in err


# Errors: the same for fit and ascend, before anything is compiled. Most of them are in test_faults.py.

FIT, ASCEND = map(inspect.unwrap, (jaxnn.fit, jaxnn.ascend))  # without the type checks that only the tests switch on


def by_fit(
    objective=OBJECTIVE, optimizer=optax.adam, params=PARAMS, train=TRAIN, hold_out=HOLD_OUT, plan=PLAN, **options
):
    options = {"learning_rate": 0.1, "epochs": 2} | options
    epochs = options.pop("epochs")
    return FIT(objective, optimizer, params, train, hold_out, plan=plan, max_epochs=epochs, **options)


def by_ascend(
    objective=OBJECTIVE, optimizer=optax.adam, params=PARAMS, train=TRAIN, hold_out=HOLD_OUT, plan=PLAN, **options
):
    options = {"learning_rate": 0.1, "epochs": 2, "key": 0} | options
    rate, key, epochs = (options.pop(name) for name in ("learning_rate", "key", "epochs"))
    state = jaxnn.init_state(objective, optimizer, params, key, learning_rate=rate)
    return ASCEND(objective, optimizer, state, train, plan, epochs, hold_out=hold_out, **options)


class OneNumber:
    """A model whose output has no axis."""

    def apply(self, params, x):
        return x @ params


class Unregistered(type(jaxnn.from_function(max))):
    """An objective that JAX does not know as a pytree."""


@jax.tree_util.register_static
class Vector(type(jaxnn.from_function(max))):
    """An objective whose log P of one example is no scalar, and which does not say so in a type."""

    def per_example(self, params, x, y):
        return x * params


def batched_log_prob(params, x, y):
    return jnp.sum(params[:, None] @ x, axis=5)


REGRESSION = jaxnn.LogLikelihood(jaxnn.Linear(3, 1), jaxnn.gaussian)
real = Batch(TRAIN.x, TRAIN.x[:, 0])

ERRORS = {
    "a scalar label": ({"train": TRAIN._replace(y=np.int32(1))}, ShapeError, r"one row an example; got .*y\.sh"),
    "hold-out features": ({"hold_out": HOLD_OUT._replace(x=HOLD_OUT.x[:, :2])}, ShapeError, r"D=3.* got x\.shape=\(10"),
    "an array": ({"train": TRAIN.x}, ConfigError, "data is a Dataset or a Batch; got ndarray; "),
    "weights of others": ({"train": TRAIN._replace(weight=np.ones(19))}, ShapeError, r"weight\.shape=\(19,\), N=20; "),
    "no labels": ({"train": TRAIN._replace(y=None)}, ShapeError, r"one label or target an example; got y=None; "),
    "targets of another width": (
        {"objective": REGRESSION, "params": REGRESSION.model.init(0), "train": real._replace(y=np.ones((20, 2)))},
        ShapeError, r"y has one target an output; got shape \(2,\) for an example with 1 outputs; ",
    ),
    "a scale in an array": (
        {"objective": jaxnn.LogLikelihood(REGRESSION.model, jaxnn.Gaussian(jnp.float32(-1))), "train": real,
         "params": REGRESSION.model.init(0)}, ConfigError, r"scale is a finite number > 0, in .*; got scale=.*-1",
    ),
    "a model of one number": (
        {"objective": jaxnn.LogLikelihood(OneNumber(), jaxnn.bernoulli), "params": jnp.ones(3)}, ShapeError,
        r"a model returns the outputs \[K\] of one example; got shape \(\) from OneNumber; add an axis with \[None\]",
    ),
    "NaN target": (
        {"objective": REGRESSION, "params": REGRESSION.model.init(0), "train": real._replace(y=real.y * np.nan)},
        NonFiniteError, r"y is finite; got y\[0\]=nan; ",
    ),
    "no rate": ({"learning_rate": None}, ConfigError, "a factory needs a rate; got learning_rate=None "),
    "accuracy without classes": (
        {"objective": REGRESSION, "params": REGRESSION.model.init(0), "train": real, "hold_out": real,
         "monitor": "accuracy"}, ConfigError, "accuracy needs classes; got monitor='accuracy' .*; use 'log_likelihood'",
    ),
    "other layers": (
        {"params": jaxnn.Mlp((3, 5, 3)).init(0)}, ShapeError,
        r"parameters fit the model; got \[0\]\.kernel has shape \(3, 5\), not \(3, 4\); \[0\]\.bias .*; build them",
    ),
    "no parameters": ({"params": ()}, ShapeError, r"there are parameters; got params=\(\); build them"),
    "integer parameters": (
        {"params": jax.tree.map(lambda p: p.astype(int), PARAMS)}, DtypeError,
        r"every parameter is a floating-point array; got 0\.kernel of type int32; ",
    ),
    "an objective of an unregistered class": (
        {"objective": Unregistered(max), "params": jnp.ones(3)}, ConfigError,
        r"an objective is a pytree of numbers; got objective=Unregistered; register your class with jax\.tree_util",
    ),
    "a vector log P": (
        {"objective": Vector(max), "params": jnp.ones(3)}, ShapeError,
        r"log P of one example is a floating-point scalar; got .*\(3,\).*; sum over anything but the batch",
    ),
    "a log P for batches": (
        {"objective": jaxnn.from_function(batched_log_prob), "params": jnp.ones(3)}, ShapeError,
        r"log_prob works on one example; got \w+ for shapes x \[\(3,\)\], y \[\(\)\]; write it for one example",
    ),
}  # fmt: skip


@pytest.mark.parametrize("run", [by_fit, by_ascend], ids=["fit", "ascend"])
@pytest.mark.parametrize("fault", ERRORS)
def test_bad_input_is_named_before_anything_is_compiled(fault, run):
    options, kind, text = ERRORS[fault]
    with jax_log() as log, pytest.raises(kind, match=text) as error:
        run(**options)
    who, rule, got, advice = re.fullmatch(r"(?s)([\w ().-]+): (.*?); got (.*); (.*?)", str(error.value)).groups()
    assert who in ("fit", "ascend", "init_state", "fit (hold-out)", "ascend (hold-out)", "Mlp.apply")
    assert rule and got and advice
    assert log.traced("advance") == 0 and log.compiled("advance") == 0


def test_the_same_calls_without_a_fault_are_accepted():
    for run in (by_fit, by_ascend):
        assert run() is not None


def test_ascend_needs_a_hold_out_for_patience_and_a_state_from_init_state():
    with pytest.raises(
        ConfigError, match=r"^ascend: patience watches a hold-out; got patience=3 and hold_out=None; split"
    ):
        by_ascend(hold_out=None, patience=3)
    with pytest.raises(ConfigError, match=r"^ascend: state comes from init_state; got tuple; call jaxnn\.init_state"):
        ASCEND(OBJECTIVE, optax.adam, PARAMS, TRAIN)


def test_a_state_of_another_optimizer_is_refused():
    with (
        jax_log() as log,
        pytest.raises(ConfigError, match=r"^ascend: state and optimizer belong together; got .*sgd.*; "),
    ):
        jaxnn.ascend(OBJECTIVE, optax.sgd, small.start(), TRAIN, PLAN, 1, hold_out=HOLD_OUT)
    with pytest.raises(ConfigError, match=r"^fit: state and optimizer belong together; got .*sgd.*; "):
        jaxnn.fit(OBJECTIVE, optax.sgd, PARAMS, TRAIN, HOLD_OUT, plan=PLAN, state=small.start())
    assert log.traced("advance") == 0


def test_a_rate_for_a_state_is_checked_like_any_other():
    half = small.fit(1)
    with pytest.raises(ConfigError, match=r"^fit: learning_rate is a finite number >= 0.*; got learning_rate=nan; "):
        small.fit(2, state=half.state, learning_rate=float("nan"))


def test_a_fit_that_goes_well_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small.fit(2)


class PlainSubclass(jaxnn.Mlp):
    """A class of a user's that JAX does not know."""


def test_a_subclass_of_mlp_trains():
    model = PlainSubclass((3, 4, 3))
    result = jaxnn.fit(
        jaxnn.LogLikelihood(model, jaxnn.categorical), optax.adam, model.init(1), TRAIN, HOLD_OUT,
        plan=PLAN, learning_rate=0.1, max_epochs=2,
    )  # fmt: skip
    assert result.status == Status.MAX_EPOCHS


def test_a_state_without_more_to_do_says_so():
    ended = small.fit(2)
    again = small.fit(2, state=ended.state)
    assert (
        again.message
        == "took no step: the state had run all after epoch 2; returned epoch 2; raise max_epochs to go on"
    )
    assert len(again.history.epoch) == 0 and bits(again.params) == bits(ended.params)
    stopped = small.fit(200, patience=1, min_delta=10.0)
    again = small.fit(200, patience=1, min_delta=10.0, state=stopped.state)
    assert stopped.status == again.status == Status.STOPPED_EARLY
    assert "had stopped early after epoch 1; " in again.message and again.message.endswith("raise patience to go on")
