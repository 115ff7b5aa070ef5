"""Gradient ascent: the textbook's updates, early stopping, resuming, jit and vmap, traces, memory, history."""

import functools
import math
from dataclasses import dataclass

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
import small
from compiles import jax_log
from hypothesis import example, given
from small import HOLD_OUT, OBJECTIVE, PARAMS, PLAN, TRAIN, bits, rows_of, start

import jaxnn
from jaxnn import Batch, FullBatch, History, LogLikelihood, MiniBatch, Mlp, State, Status, Stochastic
from jaxnn._aggregates import Plain
from jaxnn._ascent import _ascent_step
from jaxnn._door import checked_batch, strong
from jaxnn._layout import can_turn, turned, turned_objective
from jaxnn._optimizer import as_optimizer
from jaxnn._program import FOREVER, Run, advance, empty_rows, make_limits
from jaxnn._step import step
from jaxnn._types import as_jax

PLANS = [FullBatch(), MiniBatch(8), MiniBatch(8, replacement=True), Stochastic(), Stochastic(replacement=False)]


@functools.cache
def index_stream(plan, seed, num_epochs, num_rows=20):
    """Return the rows that count in each step, read from the plan itself."""
    read = jax.jit(lambda epoch, s: plan.indices(jax.random.key(seed), epoch, s, num_rows))
    stream = []
    for epoch in range(num_epochs):
        for s in range(plan.num_steps(num_rows)):
            indices, weights = read(jnp.int32(epoch), jnp.int32(s))
            indices = np.arange(num_rows) if indices is None else np.asarray(indices)
            stream.append(indices if weights is None else indices[np.asarray(weights) > 0])
        if not getattr(plan, "replacement", False):  # an epoch is every row once, whatever the batches
            assert sorted(np.concatenate(stream[-plan.num_steps(num_rows) :])) == list(range(num_rows))
    return stream


def in_double(tree):
    """Return a pytree with its floating-point leaves in float64."""
    return jax.tree.map(lambda a: np.asarray(a, np.float64 if np.asarray(a).dtype.kind == "f" else None), tree)


def random_params(model, seed=3):
    """Return parameters of moderate size without zeros, in the default dtype."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2, leaf.dtype), model.init(0))


def norm(tree):
    return np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(tree)))


# The textbook's updates.


SOFTMAX, LOGISTIC, HIDDEN = (
    (Mlp((3, 3)), jaxnn.categorical), (Mlp((3, 1)), jaxnn.bernoulli), (Mlp((3, 4, 3)), jaxnn.categorical)
)  # fmt: skip


@pytest.mark.parametrize(
    "model, likelihood, plan",
    [
        *((*SOFTMAX, plan) for plan in PLANS),
        *((*LOGISTIC, plan) for plan in (FullBatch(), MiniBatch(8), Stochastic())),
        *((*HIDDEN, plan) for plan in (FullBatch(), MiniBatch(8), MiniBatch(8, replacement=True))),
    ],
    ids=str,
)
def test_sum_and_sgd_reproduce_the_textbook_update_for_every_plan(model, likelihood, plan, x64):
    objective, params, batch = LogLikelihood(model, likelihood), random_params(model), in_double(TRAIN)
    if likelihood == jaxnn.bernoulli:
        batch = batch._replace(y=np.minimum(batch.y, 1))
    state = jaxnn.init_state(objective, optax.sgd, params, key=5, learning_rate=0.05)
    run = jax.jit(lambda s: jaxnn.ascend(objective, optax.sgd, s, batch, plan, 2, aggregate="sum")[0].params)
    kind = "categorical" if likelihood == jaxnn.categorical else "bernoulli"
    got, want = run(state), reference.ascend(params, batch.x, batch.y, index_stream(plan, 5, 2), 0.05, kind)
    for leaf, expected in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-12, atol=1e-12)
    assert max(np.abs(g - p).max() for g, p in zip(*map(jax.tree.leaves, (got, params)), strict=True)) > 0.05


@pytest.mark.parametrize("fault", ["one row twice", "mean for sum", "descent", "another order"])
def test_the_textbook_loop_tells_faults_apart(fault):
    rng = np.random.default_rng(0)
    params, x, y = [(rng.normal(size=(3, 2)), rng.normal(size=2))], rng.normal(size=(4, 3)), np.array([0, 1, 1, 0])
    batches, alpha = [np.array([0, 1]), np.array([2, 3])], 0.1
    right = reference.ascend(params, x, y, batches, alpha, "categorical")
    if fault == "one row twice":
        batches = [np.array([0, 1]), np.array([2, 2])]
    elif fault == "another order":
        batches = batches[::-1]
    else:
        alpha = alpha / 2 if fault == "mean for sum" else -alpha
    wrong = reference.ascend(params, x, y, batches, alpha, "categorical")
    assert np.abs(wrong[0][0] - right[0][0]).max() > 1e-6


def test_ascend_is_a_loop_of_ascent_steps_and_reports_the_norms_of_the_last_one(x64):
    objective, train = LogLikelihood(small.MODEL, jaxnn.categorical, l2=0.1), in_double(TRAIN)
    state = jaxnn.init_state(objective, optax.adam, random_params(small.MODEL), key=2, learning_rate=0.05)
    run = jax.jit(lambda s: jaxnn.ascend(objective, optax.adam, s, train, PLAN, 2))
    one = jax.jit(lambda s, b: jaxnn.ascent_step(objective, optax.adam, s, b))
    stream = iter(index_stream(PLAN, 2, 2))
    whole, history = run(state)
    total = np.zeros(2)
    for epoch in range(2):
        for _ in range(small.STEPS):
            rows = next(stream)
            padded, weight = np.resize(rows, 8), np.arange(8) < len(rows)
            state, info = one(state, Batch(train.x[padded], train.y[padded], weight.astype(float)))
            total[epoch] += info.log_likelihood * len(rows)
        np.testing.assert_allclose(history.gradient_norm[epoch + 1], info.gradient_norm, rtol=1e-12)
        np.testing.assert_allclose(history.update_ratio[epoch + 1], info.update_ratio, rtol=1e-12)
    assert (state.epoch, state.step) == (0, 0)  # those of a plan: a loop of one's own has its own count
    np.testing.assert_allclose(history.log_likelihood[1:], total / 20, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_step_reports_the_gradient_of_the_objective_and_the_relative_size_of_the_update(x64):
    objective, params = LogLikelihood(small.MODEL, jaxnn.categorical, l2=0.3), random_params(small.MODEL)
    batch = in_double(TRAIN)
    state = jaxnn.init_state(objective, optax.sgd, params, learning_rate=0.2)
    after, info = jax.jit(lambda s: jaxnn.ascent_step(objective, optax.sgd, s, batch))(state)
    value, gradient = jax.jit(jax.value_and_grad(objective))(params, batch)
    size, slope = norm(params), norm(gradient)
    penalty = 0.15 * sum((np.asarray(layer.kernel) ** 2).sum() for layer in params)
    np.testing.assert_allclose(info.gradient_norm, slope, rtol=1e-12)
    np.testing.assert_allclose(info.update_ratio, 0.2 * slope / size, rtol=1e-12)
    np.testing.assert_allclose(info.log_likelihood, value + penalty, rtol=1e-12)
    want = jax.tree.map(lambda w, g: w + 0.2 * g, params, gradient)
    for a, b in zip(jax.tree.leaves(after.params), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


# Weights.


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_a_batch_of_zero_weight_makes_no_step_whatever_it_holds(aggregate):
    state = start()
    nothing = Batch(np.full((4, 3), np.nan, np.float32), np.zeros(4, np.int32), np.zeros(4, np.float32))
    after, info = jax.jit(lambda s: jaxnn.ascent_step(OBJECTIVE, optax.adam, s, nothing, aggregate=aggregate))(state)
    assert bits((after.params, after.opt_state)) == bits((state.params, state.opt_state))
    assert math.isnan(info.log_likelihood)


def test_an_integer_weight_is_that_many_copies_of_the_row(x64):
    rng, train = np.random.default_rng(1), in_double(TRAIN)
    times = rng.integers(0, 4, 20)
    x = np.where(times[:, None] == 0, np.nan, train.x)  # a row of weight 0 may hold anything
    rows = np.repeat(np.arange(20), times)
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, random_params(small.MODEL), learning_rate=0.01)
    run = jax.jit(lambda s, b: jaxnn.ascend(OBJECTIVE, optax.sgd, s, b, FullBatch(), 5, hold_out=b, aggregate="sum"))
    weighted, history = run(state, Batch(x, train.y, times.astype(float)))
    repeated, expected = run(state, Batch(train.x[rows], train.y[rows]))
    for a, b in zip(*map(jax.tree.leaves, (weighted.params, repeated.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(rows_of(history), rows_of(expected), rtol=1e-11)


def test_absent_rows_reach_nothing_in_a_data_set_or_a_batch():
    x = np.array(TRAIN.x)
    weight = np.ones(20, np.float32)
    weight[[0, 11]] = 0
    x[[0, 11]] = np.nan
    run = jax.jit(lambda state, train: small.ascend(state, 2, train=train)[0])
    ends = []
    for fill in (np.nan, np.inf, 7.0):
        x[[0, 11]] = fill
        ends.append(bits(run(start(), Batch(x, TRAIN.y, weight))))
    assert ends[0] == ends[1] == ends[2]
    dataset = jaxnn.data.dataset(x, TRAIN.y, num_classes=3, weight=weight)
    assert bits(run(start(), dataset.batch)) == ends[0]
    seen = checked_batch("test", OBJECTIVE, PARAMS, dataset)
    assert np.isfinite(seen.x).all() and bits(seen.weight) == bits(weight)
    assert bits(seen.x[weight > 0]) == bits(x[weight > 0])


def test_an_epoch_that_happens_to_draw_only_absent_rows_is_no_divergence():
    objective = LogLikelihood(Mlp((3, 3)), jaxnn.categorical)
    train = Batch(TRAIN.x[:2], TRAIN.y[:2], np.array([1.0, 0.0], np.float32))
    state = jaxnn.init_state(objective, optax.sgd, objective.model.init(0), key=0, learning_rate=0.1)
    run = jax.jit(lambda s: jaxnn.ascend(objective, optax.sgd, s, train, MiniBatch(1, replacement=True), 40))
    end, history = run(state)
    silent = np.isnan(np.asarray(history.log_likelihood[1:]))
    assert 0 < silent.sum() < 40  # some epochs drew the absent row both times
    assert end.status == Status.MAX_EPOCHS and end.epoch == 40
    assert np.isfinite(end.best.value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(end.params))


# Early stopping, against ten lines of Python.

NAN = 999.0  # a finite code: the door refuses NaN in x
E = 12


def _scripted(params, x, y):
    """Training (y=0) counts epochs: the gradient is 1. The hold-out (y=1) says what the script has for this epoch."""
    scripted = x[jnp.round(params["epoch"]).astype(jnp.int32)]
    return jnp.where(y == 0, params["epoch"], jnp.where(scripted == NAN, jnp.nan, scripted))


SCRIPT = jaxnn.from_function(_scripted)
values_32 = st.floats(-4, 4, width=32, allow_subnormal=False) | st.sampled_from([-1.0, -0.5, 0.0, 0.25, math.nan])


@given(
    st.lists(values_32, min_size=E + 1, max_size=E + 1),
    st.none() | st.integers(1, E + 1),
    st.sampled_from([0.0, 0.1, 0.5, 2.0]),
    st.integers(0, E),
)
@example([math.nan] * (E + 1), 3, 0.0, E)  # never a number
@example([math.nan] * 3 + [-1.0] * (E - 2), 2, 0.0, E)  # NaN first
@example([-1.0] + [math.nan] * E, 3, 0.0, E)  # NaN from then on
@example([-3.0, -1.0, -2.0, -1.0] + [-1.0] * (E - 3), None, 0.0, E)  # ties: the first
@example([0.1 * i for i in range(E + 1)], 3, 0.5, E)  # small gains: best moves, patience ends
def test_early_stopping_does_what_ten_lines_of_python_say(values, patience, min_delta, num_epochs):
    values = values[: num_epochs + 1]
    table = np.zeros((1, E + 1), np.float32)
    table[0, : num_epochs + 1] = np.nan_to_num(values, nan=NAN)
    state = jaxnn.init_state(SCRIPT, optax.sgd, {"epoch": jnp.zeros(())}, learning_rate=1.0)
    end, history = jaxnn.ascend(
        SCRIPT, optax.sgd, state, Batch(np.zeros_like(table), np.zeros(1, np.int32)), FullBatch(), num_epochs,
        hold_out=Batch(table, np.ones(1, np.int32)), patience=patience, min_delta=min_delta,
    )  # fmt: skip
    epochs, best = reference.early_stopping(np.float32(values), patience or FOREVER, min_delta)
    assert (end.epoch, end.best.epoch, end.best.params["epoch"], end.params["epoch"]) == (epochs, best, best, epochs)
    seen = np.asarray(history.hold_out_log_likelihood)
    np.testing.assert_array_equal(seen[: epochs + 1], np.float32(values[: epochs + 1]))
    stopped = patience is not None and epochs < num_epochs
    assert not stopped or end.status == Status.STOPPED_EARLY
    assert stopped or end.status in (Status.MAX_EPOCHS, Status.STOPPED_EARLY)
    assert len(seen) == num_epochs + 1 and (np.asarray(history.epoch[epochs + 1 :]) == -1).all()
    expected = values[best] if not math.isnan(values[best]) else -math.inf
    assert end.best.value == np.float32(expected)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda v, p, d: (lambda e, b: (e, len(v) - 1 - int(np.argmax(v[::-1]))))(*reference.early_stopping(v, p, d)),
        lambda v, p, d: reference.early_stopping(v, p + 1, d),
        lambda v, p, d: reference.early_stopping(v, p, 0.0),
        lambda v, p, d: reference.early_stopping(-np.asarray(v), p, d),
    ],
    ids=["last on ties", "patience off by one", "no min_delta", "minimises"],
)
def test_the_python_model_of_early_stopping_tells_faults_apart(mutant):
    scripts = [[-3.0, -1.0, -2.0, -1.0, -2.0, -2.0], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5], [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]]
    assert any(mutant(v, 2, 0.5) != reference.early_stopping(v, 2, 0.5) for v in scripts)


@pytest.mark.parametrize("monitor", ["log_likelihood", "accuracy"])
def test_the_best_parameters_reevaluate_to_the_recorded_best(monitor):
    run = functools.partial(small.ascend, num_epochs=12, patience=4, monitor=monitor)
    end, history = run(start(0.3)) if monitor == "log_likelihood" else jax.jit(run)(start(0.3))
    column = history.hold_out_accuracy if monitor == "accuracy" else history.hold_out_log_likelihood
    column = np.asarray(column)[np.asarray(history.epoch) >= 0]
    assert end.best.epoch == int(np.argmax(column)) and end.best.value == column.max()
    found = jaxnn.evaluate(OBJECTIVE, end.best.params, HOLD_OUT)
    np.testing.assert_allclose(getattr(found, monitor), column.max(), rtol=1e-6)
    epochs, best = reference.early_stopping(column, 4, 0.0)
    assert (end.epoch, end.best.epoch) == (epochs, best) and epochs == len(column) - 1


def test_without_a_hold_out_the_last_finite_epoch_is_best_and_nothing_stops_early():
    end, history = small.ascend(start(), 6, hold_out=None)
    assert end.status == Status.MAX_EPOCHS and end.best.epoch == 6 and bits(end.best.params) == bits(end.params)
    assert np.isnan(history.hold_out_log_likelihood).all() and np.isnan(history.hold_out_accuracy).all()


# Resuming.


def test_three_and_four_epochs_are_seven_bit_for_bit():
    whole, all_rows = small.ascend(start(), 7)
    middle, first = small.ascend(start(), 3)
    assert middle.status == Status.MAX_EPOCHS
    end, second = small.ascend(middle, 4)
    assert bits(end) == bits(whole)
    assert bits(rows_of(first)) == bits(rows_of(all_rows)[:4])
    assert bits(rows_of(second)[1:]) == bits(rows_of(all_rows)[4:])
    assert rows_of(second)[0, 0] == 3  # row 0 measures the state as it came


def pieces(state, sizes, last_epoch, **limits):
    """Run the program in pieces of so many steps, as `fit` does."""
    rows = empty_rows(last_epoch, state)
    limit = make_limits(state, last_epoch, limits.get("patience"), 0.0)
    data = [jax.tree.map(jnp.asarray, batch) for batch in (TRAIN, HOLD_OUT)]
    run = Run(strong(OBJECTIVE), as_optimizer("test", optax.adam), *data, PLAN, "log_likelihood", Plain("mean"))
    for i, size in enumerate(sizes):
        limit = limit._replace(begin=jnp.asarray(i == 0), steps=jnp.asarray(size, jnp.int32))
        state, rows = advance(run, state, rows, limit)
    return state, rows


@given(st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_pieces_of_any_number_of_steps_give_the_same_bits(sizes):
    whole, all_rows = small.ascend(start(), 7)
    end, rows = pieces(start(), [*sizes, FOREVER], 7)
    assert bits(end) == bits(whole)
    assert bits(rows[:8, 1:].T) == bits(jnp.stack(all_rows[1:-1]))


@pytest.mark.parametrize("taken", [1, 2, 4, 5])
def test_ascend_goes_on_from_the_middle_of_an_epoch(taken):
    middle, _ = pieces(start(), [taken], 7)
    assert (middle.epoch, middle.step, middle.status) == (taken // 3, taken % 3, Status.RUNNING)
    end, _ = small.ascend(middle, 7 - taken // 3)
    assert bits(end) == bits(small.ascend(start(), 7)[0])


def test_resuming_keeps_patience_and_the_best():
    script = [-5.0, -1.0, -2.0, -3.0, -4.0, -4.5, -4.6] + [-9.0] * (E - 6)
    table = np.float32([script])
    state = jaxnn.init_state(SCRIPT, optax.sgd, {"epoch": jnp.zeros(())}, learning_rate=1.0)
    run = functools.partial(
        jaxnn.ascend, SCRIPT, optax.sgd, train=Batch(0 * table, np.zeros(1, np.int32)), plan=FullBatch(),
        hold_out=Batch(table, np.ones(1, np.int32)), patience=4,
    )  # fmt: skip
    middle, _ = run(state=state, num_epochs=3)
    assert (middle.misses, middle.best.epoch) == (2, 1)
    end, _ = run(state=middle, num_epochs=9)
    assert (end.status, end.epoch, end.best.epoch) == (Status.STOPPED_EARLY, 5, 1)
    again, history = run(state=end, num_epochs=4)  # a run that has stopped stays so
    assert (again.status, again.epoch) == (Status.STOPPED_EARLY, 5) and len(history.rows()) == 1


# jit and vmap.


def run_in_double(state):
    return small.ascend(state, 6, train=in_double(TRAIN), hold_out=in_double(HOLD_OUT), patience=2)


TOGETHER, ALONE = jax.jit(jax.vmap(run_in_double)), jax.jit(run_in_double)
LANES = {
    "rates": lambda: jax.vmap(lambda rate: start(rate, params=small.MODEL.init(1)))(
        jnp.array([0.0, 0.01, 0.1, 1.0, 1e308])
    ),
    "keys": lambda: jax.vmap(lambda key: start(0.1, key, small.MODEL.init(1)))(jax.random.split(jax.random.key(3), 5)),
    "params": lambda: jax.vmap(lambda key: start(0.1, 0, small.MODEL.init(key)))(
        jax.random.split(jax.random.key(4), 5)
    ),
}


@pytest.mark.parametrize("over", LANES)
def test_lanes_of_vmap_are_solo_runs_and_finished_ones_stand_still(over, x64):
    begun = LANES[over]()
    states, histories = TOGETHER(begun)
    solo = [ALONE(jax.tree.map(lambda a, i=i: a[i], begun)) for i in range(5)]
    for i, (state, history) in enumerate(solo):
        lane = jax.tree.map(lambda a, i=i: np.asarray(a[i]), (states._replace(key=states.epoch), histories))
        for got, want in zip(*map(jax.tree.leaves, (lane, (state._replace(key=state.epoch), history))), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-13)
    if over == "rates":
        assert {Status(int(s)) for s in states.status} == {Status.STOPPED_EARLY, Status.MAX_EPOCHS, Status.DIVERGED}
        assert states.status[-1] == Status.DIVERGED and histories.epoch[-1].max() < 6
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states.best.params))
    else:
        assert len({h.log_likelihood[1].item() for _, h in solo}) == 5  # the lanes do differ


def test_jit_of_ascend_is_ascend():
    def run(state, train, held):
        return small.ascend(state, 3, train=train, hold_out=held)

    got, want = jax.jit(run)(start(), TRAIN, HOLD_OUT), run(start(), TRAIN, HOLD_OUT)
    for a, b in zip(*map(jax.tree.leaves, ((got[0].params, got[1]), (want[0].params, want[1]))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


# Traces.


def test_a_hundred_fits_with_other_seeds_rates_and_penalties_are_one_trace():
    calls, fits = [], 100

    def log_prob(params, x, y):
        calls.append(None)
        return jaxnn.categorical.log_prob(x @ params["kernel"] + params["bias"], y)

    def fit(i):
        l2 = [jnp.asarray(0.02), 0, np.float32(0.01), 0.001 * i][i % 4]
        objective = jaxnn.from_function(log_prob, num_classes=3, l2=l2)
        params = {"kernel": jnp.full((3, 3), 0.01 * i), "bias": np.zeros(3, np.float32)}
        rate = [jnp.asarray(0.01), np.float32(0.1), np.array(0.01), 0.1, 1][i % 5]
        return jaxnn.fit(
            objective, optax.sgd, params, TRAIN, HOLD_OUT, plan=PLAN,
            max_epochs=1 + i % 3, patience=2 + i, min_delta=0.01 * i, key=i, learning_rate=rate,
        )  # fmt: skip

    fit(0)
    program = len(calls)  # every call of log_prob it takes to build the program, the door's included
    calls.clear()
    with jax_log() as log:
        results = [fit(i) for i in range(1, fits)]
    assert program > 2 and log.traced("advance") == 0 and log.compiled() == 0
    assert len(calls) <= 2  # the door, which asks for shapes once and remembers them
    assert len({r.history.log_likelihood[1].item() for r in results}) > 0.9 * fits  # they do differ


def test_the_trace_count_sees_a_program_that_is_built_anew():
    calls = []

    def log_prob(params, x, y):
        calls.append(None)
        return jaxnn.categorical.log_prob(x @ params, y)

    def trace(optimizer, learning_rate):
        calls.clear()
        objective = jaxnn.from_function(log_prob)
        state = jaxnn.init_state(objective, optimizer, jnp.zeros((3, 3)), learning_rate=learning_rate)
        jax.eval_shape(lambda s: jaxnn.ascend(objective, optimizer, s, TRAIN, PLAN, 1)[0], state)
        return len(calls)

    trace(optax.sgd(0.1), None)  # the door asks for shapes once and remembers them
    once, again = trace(optax.sgd(0.1), None), trace(optax.sgd(0.1), None)
    assert once == again > 1  # two calls of optax.sgd are two values: the reason for factories
    assert trace(optax.sgd, 0.1) == once and trace(optax.sgd, 0.2) <= 1
    momentum = [functools.partial(optax.sgd, momentum=0.9) for _ in range(2)]  # a partial written anew is the same one
    assert trace(momentum[0], 0.1) == once and trace(momentum[1], 0.2) <= 1


def test_numbers_of_epochs_patience_and_min_delta_are_data_of_the_program():
    small.ascend(start(), 1)
    with jax_log() as log:
        for num_epochs, patience, min_delta in [(2, 1, 0.0), (5, 3, 0.1), (63, 5, 1.0)]:
            small.ascend(start(), num_epochs, patience=patience, min_delta=min_delta)
    assert log.traced("advance") == 0


def test_a_penalty_of_any_kind_of_number_is_data_of_one_program():
    for l2 in (0, 0.0, 1, np.float64(0.5), jnp.asarray(0.0)):
        made = strong(LogLikelihood(small.MODEL, jaxnn.categorical, l2=l2)).l2
        assert (made.dtype, made.weak_type, made) == ("float32", False, l2)


# Memory.


def temporaries(function, *args, **static):
    return function.lower(*args, **static).compile().memory_analysis().temp_size_in_bytes


def tied_problem():
    def log_prob(params, x, y):  # an autoencoder's two passes share one kernel, a classifier reads the second code
        code = jnp.tanh(x @ params["kernel"] + params["bias"])
        again = jnp.tanh((code @ params["kernel"].T) @ params["kernel"] + params["bias"])
        return jaxnn.categorical.log_prob(again @ params["out"], y)

    params = {"kernel": jnp.ones((784, 256)), "bias": jnp.zeros(256), "out": jnp.ones((256, 10))}
    return jaxnn.from_function(log_prob, num_classes=10), params


def plain_problem():
    model = Mlp((784, 512, 512, 10), activation=jaxnn.relu)
    return LogLikelihood(model, jaxnn.categorical), jax.tree.map(jnp.zeros_like, model.init(0))


BIG = Batch(jnp.ones((128, 784)), jnp.zeros(128, jnp.int32))


@pytest.mark.parametrize("problem", [plain_problem, tied_problem], ids=["784-512-512-10", "tied weights"])
def test_a_step_needs_no_more_memory_than_the_gradient_of_the_sum(problem):
    objective, params = problem()
    sgd = as_optimizer("test", optax.sgd)
    state = jaxnn.init_state(objective, optax.sgd, params, learning_rate=0.1)

    def summed(params, batch):
        return jnp.sum(jax.vmap(objective.per_example, (None, 0, 0))(params, batch.x, batch.y))

    gradient = temporaries(jax.jit(jax.grad(summed)), params, BIG)
    inner = jax.jit(lambda o, s, b: step(o, sgd, Plain("mean"), s, b, may_be_empty=False)[:2])
    assert temporaries(inner, strong(objective), state, BIG) <= 1.1 * gradient
    if can_turn(objective, sgd):  # then this is how the loop of ascend takes it
        inside = strong(turned_objective(objective)), turned(state, state.params)
        assert temporaries(inner, *inside, BIG) <= 1.1 * gradient
    # ascent_step reports norms, so it must hold its gradient; for `grad` that is the output, and not counted above
    public = temporaries(_ascent_step, strong(objective), state, BIG, Plain("mean"), optimizer=sgd)
    assert public <= 1.1 * (gradient + sum(leaf.nbytes for leaf in jax.tree.leaves(params)))


def test_weights_after_the_gradients_would_fail_the_memory_test():
    objective, params = plain_problem()

    def naive(params, batch, weight):
        each = jax.vmap(jax.grad(objective.per_example), (None, 0, 0))(params, batch.x, batch.y)
        return jax.tree.map(lambda g: jnp.tensordot(weight, g, 1), each)

    assert temporaries(jax.jit(naive), params, BIG, jnp.ones(128)) > 100e6


# Divergence and standing still.


def test_a_diverged_run_says_so_keeps_the_best_and_ends_its_history():
    middle, _ = small.ascend(start(0.1), 3)
    end, history = small.ascend(middle._replace(learning_rate=jnp.float32(1e38)), 7)
    assert end.status == Status.DIVERGED and end.epoch < 10
    assert bits(end.best) == bits(middle.best) and np.isfinite(end.best.value)
    assert len(history.rows()) == end.epoch - 3 + 1  # the row of the last epoch is the last row
    last = history.rows()[-1]
    assert not all(map(math.isfinite, (last["log_likelihood"], last["hold_out_log_likelihood"])))
    again, more = small.ascend(end._replace(params=end.best.params), 5)  # a diverged run does not go on
    assert again.status == Status.DIVERGED and again.epoch == end.epoch and len(more.rows()) == 1


def test_a_run_that_diverges_at_once_returns_the_initial_parameters():
    for hold_out in (HOLD_OUT, None):
        end, _ = small.ascend(start(1e38), 5, hold_out=hold_out)
        assert end.status == Status.DIVERGED and end.best.epoch == 0 and bits(end.best.params) == bits(PARAMS)


def test_a_log_likelihood_that_is_not_finite_at_the_start_is_divergence_before_any_step():
    huge = jax.tree.map(lambda leaf: jnp.full_like(leaf, 3e38), PARAMS)
    end, history = small.ascend(start(params=huge), 5)
    assert end.status == Status.DIVERGED and end.epoch == 0 and bits(end.params) == bits(huge)
    assert len(history.rows()) == 1


def test_a_rate_of_zero_and_no_epochs_leave_the_bits_alone():
    still, history = small.ascend(start(0.0), 4)
    assert bits(still.params) == bits(PARAMS) and still.status == Status.MAX_EPOCHS and still.epoch == 4
    assert set(history.update_ratio[1:].tolist()) == {0.0}
    none, history = small.ascend(start(), 0)
    assert bits((none.params, none.best.params)) == bits((PARAMS, PARAMS))
    assert (none.status, none.epoch, none.best.epoch) == (Status.MAX_EPOCHS, 0, 0) and len(history.epoch) == 1


# History.


def test_row_zero_measures_the_initial_parameters_and_unreached_rows_hold_nan():
    end, history = small.ascend(start(0.0), 9, patience=2)
    assert isinstance(history, History) and history.epoch.tolist() == [0, 1, 2] + [-1] * 7
    assert end.status == Status.STOPPED_EARLY
    of_train = jaxnn.evaluate(OBJECTIVE, PARAMS, TRAIN)
    np.testing.assert_allclose(history.log_likelihood[0], of_train.log_likelihood, rtol=1e-6)
    held = jaxnn.evaluate(OBJECTIVE, PARAMS, HOLD_OUT)
    np.testing.assert_allclose(history.hold_out_log_likelihood[0], held.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(history.hold_out_accuracy[0], held.accuracy, rtol=1e-6)
    assert np.isnan(history.gradient_norm[0]) and np.isnan(history.update_ratio[0])
    assert all(np.isnan(column[3:]).all() for column in history[1:]) and np.isnan(history.seconds).all()
    assert [row["epoch"] for row in history.rows()] == [0, 1, 2]


def test_the_log_likelihood_of_an_epoch_is_the_mean_over_rows_not_over_batches():
    _, history = small.ascend(start(0.0), 2)  # nothing moves, so the running mean is the mean: 8 + 8 + 4 rows
    np.testing.assert_allclose(history.log_likelihood, [history.log_likelihood[0]] * 3, rtol=1e-6)
    each = jax.jit(jax.vmap(lambda x, y: OBJECTIVE.per_example(PARAMS, x, y)))(TRAIN.x, TRAIN.y)
    means = [np.mean(each[rows]) for rows in index_stream(PLAN, 0, 1)]
    assert abs(np.mean(means) - history.log_likelihood[0]) > 1e-4  # a mean of means would have been told apart


# Manners.


def test_inputs_are_neither_changed_nor_donated_and_globals_stay_as_they_were():
    arrays = (*PARAMS[0], *TRAIN[:2], *HOLD_OUT[:2])
    before, config = bits(arrays), dict(jax.config.values)
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002  (it is the global one that must not move)
    state = start()
    copy = bits(state)
    small.ascend(state, 2)
    jax.eval_shape(lambda s: jaxnn.ascent_step(OBJECTIVE, optax.adam, s, TRAIN), state)
    small.fit(2)
    assert bits(arrays) == before and bits(state) == copy
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((state, PARAMS)))
    assert dict(jax.config.values) == config
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


def test_no_tracer_leaks():
    with jax.checking_leaks():
        end, _ = jax.jit(lambda s: small.ascend(s, 2, patience=1))(start())
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(end))


def kinds(tree):
    return [(leaf.dtype.name, getattr(leaf, "weak_type", False)) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_the_state_keeps_its_dtypes_and_history_is_in_float32_or_wider(dtype):
    wide = "float64" if dtype == "float64" else "float32"
    with jax.enable_x64(dtype == "float64"):
        params = small.MODEL.init(1, dtype=dtype)
        state = start(params=params)
        run = functools.partial(small.ascend, num_epochs=6)
        end, history = {"float32": run, "float64": ALONE, "bfloat16": jax.jit(run)}[dtype](state)
        assert kinds(end) == kinds(state) and not any(weak for _, weak in kinds(end))
        assert {leaf.dtype.name for leaf in jax.tree.leaves(end.params)} == {dtype}
        assert {column.dtype.name for column in history} == {"int32", wide}
        assert isinstance(end, State) and end.learning_rate.dtype == end.best.value.dtype == wide
        assert np.isfinite(rows_of(history)[1:, 1:7]).all() and end.epoch > 1


@pytest.mark.parametrize("given", ["float16", "float32", "int32"])
def test_arrays_of_another_dtype_are_cast_at_the_door(x64, given):
    """Also arrays of JAX's own, whatever way the dtype is written: to NumPy, float64 is equal to None."""
    array = jnp.ones(3, given)
    for dtype in (np.dtype("float64"), np.float64, "float64"):
        assert as_jax(array, dtype).dtype == jnp.float64
    assert as_jax(array) is array and as_jax(array, given) is array
    assert not as_jax(jnp.asarray(1.0), jnp.float64).weak_type  # a Python number would compile anew
    key = jax.random.key(0)
    assert jax.jit(as_jax)(key) == key
    batch = Batch(jnp.asarray(TRAIN.x, given), TRAIN.y, jnp.ones(20, given))
    made = checked_batch("test", OBJECTIVE, in_double(PARAMS), batch)
    assert made.x.dtype == made.weight.dtype == jnp.float64


def test_a_rate_in_single_precision_steers_a_run_in_double(x64):
    options = {"learning_rate": jnp.float32(0.1), "max_epochs": 1, "progress": False}
    fitted = jaxnn.fit(OBJECTIVE, optax.sgd, in_double(PARAMS), TRAIN, HOLD_OUT, plan=PLAN, **options)
    assert {leaf.dtype for leaf in jax.tree.leaves(fitted.params)} == {np.dtype("float64")}


def test_single_precision_parameters_stay_single_where_x64_is_on(x64):
    state = start(params=small.MODEL.init(1, dtype="float32"))
    end, history = jax.jit(lambda s: small.ascend(s, 2))(state)
    assert kinds(end) == kinds(state) and history.log_likelihood.dtype == "float32"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(end.opt_state)} == {"float32", "int32"}


# What a review found: each of these was once wrong without a word.


def test_the_mean_of_many_equal_terms_is_that_term():
    objective = LogLikelihood(Mlp((1, 1)), jaxnn.bernoulli)
    train = Batch(np.ones((300_000, 1), np.float32), np.ones(300_000, np.int32))
    params = jax.tree.map(lambda leaf: leaf + 1.1, objective.model.init(0))
    state = jaxnn.init_state(objective, optax.sgd, params, learning_rate=0.0)
    _, history = jaxnn.ascend(objective, optax.sgd, state, train, MiniBatch(1), 1)
    exact = objective.per_example(params, jnp.ones(1), 1)
    np.testing.assert_allclose(history.log_likelihood, exact, rtol=5e-5)  # one plain float32 sum is off by 1e-3


@pytest.mark.parametrize(
    "y", [np.asarray(TRAIN.y)[:, None], np.eye(3, dtype=np.int32)[TRAIN.y]], ids=["column", "one-hot"]
)
def test_labels_with_a_second_axis_are_refused_not_broadcast(wrong_types, y):
    wrong = Batch(TRAIN.x, y, np.ones(20, np.float32))
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, PARAMS, learning_rate=0.1)
    for call in (
        lambda: OBJECTIVE(PARAMS, wrong),
        lambda: jax.grad(OBJECTIVE)(PARAMS, wrong),
        lambda: jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, wrong),
    ):
        with pytest.raises(jaxnn.ShapeError, match=r"one number an example.* got shape .*; pass y of shape \[N\]"):
            call()


def test_a_step_refuses_what_is_no_state_no_batch_or_of_another_optimizer():
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, PARAMS, learning_rate=0.1)
    for wrong, text in (
        (lambda: jaxnn.ascent_step(OBJECTIVE, optax.sgd, PARAMS, TRAIN), "state comes from init_state; got tuple"),
        (lambda: jaxnn.ascent_step("x", optax.sgd, state, TRAIN), "objective is a log likelihood; got objective=str"),
        (lambda: jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, TRAIN.x), "data is a Dataset or a Batch; got ndarray"),
        (
            lambda: jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, TRAIN._replace(y=np.array(list("ab" * 10)))),
            "y holds numbers",
        ),
        (lambda: jaxnn.ascent_step(OBJECTIVE, optax.adam, state, TRAIN), "state and optimizer belong together"),
        (lambda: jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, Batch(TRAIN.x, TRAIN.y[:5])), "one row an example"),
        (lambda: jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, Batch(TRAIN.x, TRAIN.y + 0.5)), "integer labels"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            wrong()


def test_steps_of_a_loop_leave_the_epoch_of_a_plan_whole():
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, PARAMS, learning_rate=0.0)
    for _ in range(2):
        state, _ = jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, Batch(TRAIN.x[:7], TRAIN.y[:7]))
    _, history = jaxnn.ascend(OBJECTIVE, optax.sgd, state, TRAIN, MiniBatch(7), 2)
    np.testing.assert_allclose(history.log_likelihood, history.log_likelihood[0], rtol=1e-5)  # rate 0: all the same


def test_going_on_with_another_monitor_forgets_the_best_of_the_old_one():
    fit = functools.partial(jaxnn.fit, OBJECTIVE, optax.sgd, PARAMS, TRAIN, TRAIN, patience=None, progress=False)
    first = fit(max_epochs=3, monitor="accuracy", learning_rate=0.05)
    second = fit(max_epochs=12, monitor="log_likelihood", state=first.state)
    rows = second.history.hold_out_log_likelihood
    assert second.best_epoch == second.history.epoch[np.argmax(rows)] and second.state.best.value == rows.max()


@jax.tree_util.register_static
@dataclass(frozen=True)
class WeightedWhole:
    """A plan of a user's: everything in every step, the first half with weight one, the rest absent."""

    def batch_size(self, num_examples):
        return num_examples

    def num_steps(self, num_examples):
        return 1

    def indices(self, key, epoch, step, num_examples):
        return None, (jnp.arange(num_examples) < num_examples // 2).astype(float)


def test_weights_of_a_plan_that_reads_everything_count():
    half = Batch(TRAIN.x[:10], TRAIN.y[:10])
    weighted, _ = small.ascend(start(), 3, hold_out=None, plan=WeightedWhole())
    plain, _ = small.ascend(start(), 3, hold_out=None, plan=FullBatch(), train=half)
    for got, want in zip(jax.tree.leaves(weighted.params), jax.tree.leaves(plain.params), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
