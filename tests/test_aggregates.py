"""Aggregates in training: what a step makes of the gradients of single examples; what the history tells of them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiles import jax_log
from small import HOLD_OUT, MODEL, OBJECTIVE, PARAMS, PLAN, TRAIN, bits, rows_of, start

import jaxnn
from jaxnn import Batch, ConfigError, FullBatch, MemoryBudgetError, MiniBatch, per_example
from jaxnn._aggregates import Plain, Written, as_aggregate
from jaxnn._state import WATCHED

PENALISED = jaxnn.LogLikelihood(MODEL, jaxnn.categorical, l2=0.3)
WEIGHTS = np.array([2, 0, 1, 3] * 5, np.float32)


def each(params, batch, objective=OBJECTIVE):
    """Return one gradient an example as float64[N, P]: vmap(grad), which shares nothing with factors."""
    gradients = jax.vmap(jax.grad(objective.per_example), (None, 0, 0))(params, batch.x, batch.y)
    return np.concatenate([np.asarray(g, np.float64).reshape(len(batch.y), -1) for g in jax.tree.leaves(gradients)], 1)


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def clipped_mean(gradients, max_norm, weight):
    norms = np.linalg.norm(gradients, axis=1)
    return (weight * np.minimum(1, max_norm / norms)) @ gradients / weight.sum()


@dataclasses.dataclass(frozen=True)
class MedianOfMeans:
    """The example of the docstring: the median, over groups, of the groups' mean gradients."""

    groups: int

    def __call__(self, gradients):
        weight = gradients.weights()
        mine = jnp.arange(len(weight)) % self.groups == jnp.arange(self.groups)[:, None]
        shares = mine * weight / jnp.maximum((mine * weight).sum(1, keepdims=True), 1e-9)
        return jax.tree.map(lambda leaf: jnp.median(leaf, axis=0), jax.vmap(gradients.weighted_sum)(shares))


@functools.partial(jax.tree_util.register_dataclass, data_fields=("power",), meta_fields=())
@dataclasses.dataclass(frozen=True)
class Tempered:
    """A mean of gradients divided by a power of their norms: a user's aggregate with a number that is data."""

    power: float

    def __call__(self, gradients):
        return gradients.weighted_sum(gradients.norms() ** -self.power / len(gradients.weights()))


def mean_of_all(gradients):
    """The mean, written by a user."""
    return gradients.mean()


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["equal weights", "weights"])
def test_a_step_follows_the_mean_of_clipped_gradients_less_the_penalty(weight):
    batch = TRAIN._replace(weight=weight)
    state = jaxnn.init_state(PENALISED, optax.sgd, PARAMS, learning_rate=1.0)
    after, info = jaxnn.ascent_step(PENALISED, optax.sgd, state, batch, aggregate=jaxnn.clipped(0.5))
    w = np.ones(20) if weight is None else weight
    want = clipped_mean(each(PARAMS, TRAIN), 0.5, w) - flat(jax.grad(PENALISED.penalty)(PARAMS))
    np.testing.assert_allclose(flat(after.params) - flat(PARAMS), want, atol=3e-7)
    np.testing.assert_allclose(info.gradient_norm, np.linalg.norm(want), rtol=1e-5)
    log_probs = np.asarray(jax.vmap(OBJECTIVE.per_example, (None, 0, 0))(PARAMS, TRAIN.x, TRAIN.y), np.float64)
    np.testing.assert_allclose(info.log_likelihood, log_probs @ w / w.sum(), rtol=1e-6)


@pytest.mark.parametrize("plan", [PLAN, FullBatch(), MiniBatch(7, replacement=True)], ids=repr)
def test_ascend_takes_the_steps_that_numpy_takes(plan):
    state = jaxnn.init_state(PENALISED, optax.sgd, PARAMS, 3, learning_rate=0.5)
    after, history = jaxnn.ascend(PENALISED, optax.sgd, state, TRAIN, plan, 2, aggregate=jaxnn.clipped(0.7))
    params = PARAMS
    unflat = jax.flatten_util.ravel_pytree(PARAMS)[1]
    for epoch in range(2):
        for step in range(plan.num_steps(20)):
            indices, weight = plan.indices(jax.random.key(3), epoch, step, 20)
            rows = TRAIN if indices is None else Batch(TRAIN.x[np.asarray(indices)], TRAIN.y[np.asarray(indices)])
            w = np.ones(len(rows.y)) if weight is None else np.asarray(weight, np.float64)
            gradient = clipped_mean(each(params, rows), 0.7, w) - flat(jax.grad(PENALISED.penalty)(params))
            params = unflat(jnp.asarray(flat(params) + 0.5 * gradient, jnp.float32))
    np.testing.assert_allclose(flat(after.params), flat(params), atol=2e-5)
    assert np.isfinite(rows_of(history)[:, 1]).all()


def test_nothing_to_clip_is_the_plain_mean():
    run = jax.jit(lambda s, c: jaxnn.ascend(OBJECTIVE, optax.sgd, s, TRAIN, PLAN, 3, aggregate=c))
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, PARAMS, learning_rate=0.5)
    (plain, a), (infinite, b), (large, c) = (
        jaxnn.ascend(OBJECTIVE, optax.sgd, state, TRAIN, PLAN, 3),
        run(state, jaxnn.clipped(np.inf)),
        run(state, jaxnn.clipped(1e6)),
    )
    np.testing.assert_allclose(flat(infinite.params), flat(plain.params), atol=1e-5)
    np.testing.assert_allclose(rows_of(b)[:, 1:6], rows_of(a)[:, 1:6], rtol=1e-4)
    assert bits(infinite.params) == bits(large.params) and bits(b) == bits(c)


def test_clipped_to_nothing_only_the_penalty_moves_the_parameters():
    state = jaxnn.init_state(PENALISED, optax.sgd, PARAMS, learning_rate=0.5)
    after, _ = jaxnn.ascent_step(PENALISED, optax.sgd, state, TRAIN, aggregate=jaxnn.clipped(0))
    want = flat(PARAMS) - 0.5 * flat(jax.grad(PENALISED.penalty)(PARAMS))
    np.testing.assert_allclose(flat(after.params), want, atol=1e-7)


def test_a_written_mean_is_the_mean():
    state = jaxnn.init_state(PENALISED, optax.sgd, PARAMS, learning_rate=0.5)
    plain, _ = jaxnn.ascend(PENALISED, optax.sgd, state, TRAIN, PLAN, 2)
    written, _ = jaxnn.ascend(PENALISED, optax.sgd, state, TRAIN, PLAN, 2, aggregate=mean_of_all)
    np.testing.assert_allclose(flat(written.params), flat(plain.params), atol=1e-5)


@pytest.mark.parametrize("aggregate", [jaxnn.clipped(0.5), mean_of_all], ids=["clipped", "written"])
def test_a_batch_of_zero_weight_makes_no_step_whatever_it_holds(aggregate):
    state = start()
    nothing = TRAIN._replace(x=np.full_like(TRAIN.x, np.nan), weight=np.zeros(20, np.float32))
    after, info = jaxnn.ascent_step(OBJECTIVE, optax.adam, state, nothing, aggregate=aggregate)
    assert bits(after) == bits(state) and np.isnan(info.log_likelihood)


def test_medians_of_means_learn_where_a_mean_is_carried_away():
    # One row in thirty is enormous, with a wrong label: the gradient of a linear model is as large as its input.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    y = (x @ rng.normal(size=(3, 3))).argmax(1).astype(np.int32)
    clean, wrong = Batch(x[300:], y[300:]), np.arange(0, 300, 30)
    x[wrong], y[wrong] = 1e3 * x[wrong], (y[wrong] + 1) % 3
    linear = jaxnn.LogLikelihood(jaxnn.Linear(3, 3), jaxnn.categorical)

    def accuracy(aggregate):
        options = {"plan": FullBatch(), "learning_rate": 0.3, "max_epochs": 100, "aggregate": aggregate}
        result = jaxnn.fit(linear, optax.sgd, linear.model.init(0), Batch(x[:300], y[:300]), **options)
        return jaxnn.evaluate(linear, result.params, clean).accuracy

    assert accuracy("mean") < 0.6 < 0.9 < min(accuracy(MedianOfMeans(50)), accuracy(jaxnn.clipped(1.0)))


def test_fit_and_ascend_give_the_same_bits_and_interrupted_runs_go_on(tmp_path):
    options = {"plan": PLAN, "learning_rate": 0.1, "aggregate": jaxnn.clipped(0.5), "patience": None}
    whole = jaxnn.fit(OBJECTIVE, optax.adam, PARAMS, TRAIN, HOLD_OUT, max_epochs=4, **options)
    state, history = jaxnn.ascend(
        OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 4, hold_out=HOLD_OUT, aggregate=jaxnn.clipped(0.5)
    )
    assert bits(whole.state.params) == bits(state.params)
    np.testing.assert_array_equal(rows_of(whole.history), rows_of(history))
    fit = functools.partial(jaxnn.fit, OBJECTIVE, optax.adam, PARAMS, TRAIN, HOLD_OUT, checkpoint=tmp_path / "run")
    fit(max_epochs=2, **options)
    assert bits(fit(max_epochs=4, **options).state.params) == bits(whole.state.params)
    with pytest.raises(
        jaxnn.CheckpointError, match=r"aggregate Clipped\(max_norm=0\.6.*\), was Clipped\(max_norm=0\.5"
    ):
        fit(max_epochs=4, **options | {"aggregate": jaxnn.clipped(0.6)})


@pytest.mark.parametrize("make", [jaxnn.clipped, Tempered], ids=["clipped", "a registered class"])
def test_another_number_in_an_aggregate_compiles_nothing(make):
    jaxnn.ascend(OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 2, aggregate=make(0.5))
    jaxnn.ascent_step(OBJECTIVE, optax.adam, start(), TRAIN, aggregate=make(0.5))
    with jax_log() as log:
        jaxnn.ascend(OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 2, aggregate=make(0.25))
        jaxnn.ascent_step(OBJECTIVE, optax.adam, start(), TRAIN, aggregate=make(np.float32(0.125)))
    assert not log.traced("advance") and not log.traced("_ascent_step") and not log.compiled()


def test_lanes_of_vmap_clip_each_to_its_own_norm():
    norms = jnp.array([0.1, 0.5, jnp.inf])
    run = lambda c: jaxnn.ascend(OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 2, aggregate=jaxnn.clipped(c))  # noqa: E731
    lanes, _ = jax.vmap(run)(norms)
    for i, c in enumerate(norms):
        np.testing.assert_allclose(
            flat(jax.tree.map(lambda a, i=i: a[i], lanes.params)), flat(run(c)[0].params), atol=1e-5
        )


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Columns:
    """The mean of the gradients, with each kernel's columns made 1 long: another thing if kernels lie turned."""

    def __call__(self, gradients):
        return jax.tree.map(lambda g: g / jnp.linalg.norm(g, axis=0), gradients.mean())


@functools.partial(jax.tree_util.register_dataclass, data_fields=("size",), meta_fields=())
@dataclasses.dataclass(frozen=True)
class SizedColumns:
    """The same, with a number that is data."""

    size: float

    def __call__(self, gradients):
        return jax.tree.map(lambda g: self.size * g, Columns()(gradients))


@pytest.mark.parametrize(
    "aggregate", [lambda g: Columns()(g), Columns(), SizedColumns(1.0)], ids="function static data".split()
)
def test_an_aggregate_of_a_user_sees_kernels_as_the_user_has_them(aggregate):
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, PARAMS, learning_rate=0.1)
    one, _ = jaxnn.ascent_step(OBJECTIVE, optax.sgd, state, TRAIN, aggregate=aggregate)
    run, _ = jaxnn.ascend(OBJECTIVE, optax.sgd, state, TRAIN, FullBatch(), 1, aggregate=aggregate)
    np.testing.assert_allclose(flat(run.params), flat(one.params), atol=1e-6)


def test_a_gradient_that_is_not_finite_moves_nothing():
    # The derivative of sqrt at 0 is infinite where log P itself is finite.
    root = jaxnn.from_function(lambda w, x, y: -jnp.sqrt(jnp.abs(w["a"] @ x)) - 0 * y)
    params = {"a": jnp.ones(3)}
    batch = Batch(np.array([[1, 1, 1], [1, -1, 0]], np.float32), np.zeros(2, np.float32))
    state = jaxnn.init_state(root, optax.sgd, params, learning_rate=1.0)
    after, info = jaxnn.ascent_step(root, optax.sgd, state, batch, aggregate=jaxnn.clipped(10.0))
    np.testing.assert_allclose(after.params["a"], 1 - 0.5 / (2 * np.sqrt(3)), rtol=1e-6)
    assert np.isfinite(info.log_likelihood)


@pytest.mark.parametrize(
    "aggregate, text",
    [
        ("maen", "ascend: aggregate is one of mean, sum; got aggregate='maen'; did you mean 'mean'?"),
        (None, "ascend: aggregate is one of mean, sum, or a function of per_example.Factors; got aggregate=None"),
        (jaxnn.clipped, "clipped: max_norm is a number >= 0, or infinity; got max_norm=Factors"),
        (MedianOfMeans, "ascend: an aggregate is a value; got the class aggregate=MedianOfMeans; pass MedianOfMeans("),
        (lambda g: g.norms(), r"ascend: an aggregate returns a tree like the parameters; got \(8,\)"),
        (lambda g: {"w": g.mean()}, "ascend: an aggregate returns a tree like the parameters; got {'w'"),
    ],
    ids=["a misspelt word", "nothing", "clipped itself", "a class", "norms", "another tree"],
)
def test_what_is_no_aggregate_is_refused(aggregate, text):
    with pytest.raises(ConfigError, match=text.replace("(B", r"\(B").replace("?", r"\?").replace("s(", r"s\(")):
        jaxnn.ascend(OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 1, aggregate=aggregate)


def test_an_aggregate_of_a_step_is_checked_too():
    with pytest.raises(ConfigError, match="ascent_step: an aggregate returns a tree like the parameters"):
        jaxnn.ascent_step(OBJECTIVE, optax.adam, start(), TRAIN, aggregate=lambda g: g.norms())


def test_an_aggregate_that_cannot_be_compared_is_refused():
    @dataclasses.dataclass
    class Unhashable:
        def __call__(self, gradients):
            return gradients.mean()

    with pytest.raises(ConfigError, match="ascend: an aggregate is hashable, or a registered pytree; got aggregate="):
        jaxnn.ascend(OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 1, aggregate=Unhashable())


@pytest.mark.parametrize("max_norm", [-1, np.nan, -np.inf, "1", None, True, np.ones(2)], ids=repr)
def test_a_largest_norm_that_is_none_is_refused(max_norm):
    with pytest.raises(ConfigError, match="clipped: max_norm is a number >= 0, or infinity; got max_norm="):
        jaxnn.clipped(max_norm)


def test_gradients_that_do_not_fit_in_memory_are_refused_before_anything_is_compiled():
    def log_prob(w, x, y):  # enters sin: kept in full for every example
        return jnp.sum(jnp.sin(w) * x[0]) - y

    objective = jaxnn.from_function(log_prob)
    batch = Batch(np.ones((600, 1), np.float32), np.zeros(600, np.float32))
    params = jnp.zeros(10**6)
    state = jaxnn.init_state(objective, optax.sgd, params, learning_rate=0.1)
    for run in (
        lambda: jaxnn.ascend(objective, optax.sgd, state, batch, FullBatch(), 1, aggregate=jaxnn.clipped(1.0)),
        lambda: jaxnn.ascent_step(objective, optax.sgd, state, batch, aggregate=jaxnn.clipped(1.0)),
    ):
        with pytest.raises(MemoryBudgetError, match=r"600 examples that take 2\.2 GiB; pass a smaller batch"):
            run()


def test_plain_words_and_wrapped_functions_come_back_as_they_are():
    assert as_aggregate("t", "sum") == Plain("sum") == as_aggregate("t", Plain("sum"))
    assert as_aggregate("t", mean_of_all) == Written(mean_of_all) == as_aggregate("t", Written(mean_of_all))
    assert repr(Written(MedianOfMeans(3))) == "MedianOfMeans(groups=3)"


# What the history tells.


def watching(train=TRAIN, **options):
    return jaxnn.ascend(
        OBJECTIVE, optax.adam, start(), train, PLAN, 2, hold_out=HOLD_OUT, watch_gradients=True, **options
    )


@pytest.mark.parametrize("weight", [None, WEIGHTS], ids=["equal weights", "weights"])
def test_the_history_tells_noise_and_norms_after_each_epoch(weight):
    train = TRAIN._replace(weight=weight)
    state, history = watching(train)
    w = np.ones(20) if weight is None else weight.astype(np.float64)
    for row, params in ((0, PARAMS), (2, state.params)):
        gradients = each(params, TRAIN)
        norms = np.linalg.norm(gradients, axis=1)
        found = [getattr(history, name)[row] for name in WATCHED[2:]]
        np.testing.assert_allclose(found, np.quantile(norms[w > 0], [0, 0.25, 0.5, 0.75, 1]), rtol=1e-5)
        share, m = (w**2).sum() / w.sum() ** 2, w @ norms**2 / w.sum()
        trace = (m - np.sum((w @ gradients / w.sum()) ** 2)) / (1 - share)
        np.testing.assert_allclose(history.noise_trace[row], trace, rtol=1e-5)
        np.testing.assert_allclose(history.noise_square[row], m - trace, rtol=1e-3, atol=1e-5)
    assert np.array_equal(history.noise_scale > 0, np.ones(3, bool))


def test_watching_does_not_change_the_run_and_unwatched_columns_are_left_out():
    state, history = watching()
    plain, unwatched = jaxnn.ascend(OBJECTIVE, optax.adam, start(), TRAIN, PLAN, 2, hold_out=HOLD_OUT)
    assert bits(state.params) == bits(plain.params)
    assert set(history.rows()[0]) == set(jaxnn.History._fields)
    assert set(unwatched.rows()[0]) == set(jaxnn.History._fields) - set(WATCHED)
    assert np.isnan(unwatched.noise_scale).all()


def test_fit_watches_like_ascend_and_the_folder_keeps_it(tmp_path):
    options = {"plan": PLAN, "learning_rate": 0.1, "patience": None, "watch_gradients": True}
    fit = functools.partial(jaxnn.fit, OBJECTIVE, optax.adam, PARAMS, TRAIN, HOLD_OUT, checkpoint=tmp_path / "run")
    fit(max_epochs=1, **options)
    np.testing.assert_array_equal(rows_of(fit(max_epochs=2, **options).history), rows_of(watching()[1]))
    unwatched = fit(max_epochs=3, **options | {"watch_gradients": False}).history  # a run may go on without
    assert np.isfinite(unwatched.norm_max[:3]).all() and np.isnan(unwatched.norm_max[3])


def test_only_so_many_examples_are_looked_at():
    x = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    train = Batch(x, (x[:, 0] > 0).astype(np.int32))
    _, history = jaxnn.ascend(OBJECTIVE, optax.adam, start(), train, MiniBatch(2500), 0, watch_gradients=True)
    seen = np.linspace(0, 4999, 2048).round().astype(int)
    norms = np.linalg.norm(each(PARAMS, Batch(x[seen], train.y[seen])), axis=1)
    np.testing.assert_allclose([history.norm_min[0], history.norm_max[0]], [norms.min(), norms.max()], rtol=1e-5)


def test_factors_take_one_forward_and_one_backward_pass():
    made = str(jax.make_jaxpr(lambda p: per_example.factors(OBJECTIVE, p, TRAIN))(PARAMS))
    assert (
        made.count("dot_general") == 3
    )  # two layers forwards, one of them backwards: no gradient of a kernel, no input's
