"""Tests data attribution against dense linear algebra: gradients of each row by the chain rule, and NumPy's solve."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from cases import by_name
from compiles import jax_log

import jaxnn
from jaxnn import Batch, ConfigError, MemoryBudgetError, ShapeError, per_example
from jaxnn.per_example import _chunks, _influence

CASE = by_name["softmax"]
OBJECTIVE = CASE.objective(0.3)
N, M, TOP = 11, 4, 4
ONES = np.ones(N)
_rng = np.random.default_rng(4)


def flat(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def examples(n, seed):
    rng = np.random.default_rng(seed)
    return Batch(rng.normal(size=(n, 4)), rng.integers(0, 3, n).astype(np.int32))


def parameters(seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.normal(size=a.shape), CASE.model.init(0))


TRAIN, TEST, PARAMS, LATER = examples(N, 0), examples(M, 1), parameters(2), parameters(3)
WEIGHT = np.array([1, 2, 0, 1, 0.5, 1, 3, 0, 1, 1, 1.0])


def gradients(batch, params=PARAMS):
    """The gradients [N, P] of float64."""
    return np.stack([flat(g) for g in oracles.per_example_gradients("categorical", params, *batch[:2])])


def dense(rates=(1.0,), many=(PARAMS,), damping=None, weight=None):
    """Scores [M, N]: one row a test example."""
    weight, total = np.ones(N) if weight is None else weight, 0
    for rate, params in zip(rates, many, strict=True):
        g, h = gradients(TRAIN, params), gradients(TEST, params)
        if damping is not None:
            fisher = (weight[:, None] * g).T @ g / weight.sum()
            h = np.linalg.solve(fisher + damping * np.eye(len(fisher)), h.T).T
        total = total + rate * h @ g.T
    return total


def agrees(found, scores, present=None, rtol=1e-9, top=TOP):
    """What was found is the first and the last `top` of the scores, in order."""
    scores = scores if present is None else np.where(present, scores, np.nan)
    for indices, values, sign in (
        (found.helpful, found.helpful_scores, -1),
        (found.harmful, found.harmful_scores, 1),
    ):
        order = np.argsort(np.where(np.isnan(scores), np.inf, sign * scores), axis=1, kind="stable")[:, :top]
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_allclose(values, np.take_along_axis(scores, order, 1), rtol=rtol)
        assert indices.dtype == np.int32 and indices.shape == values.shape == (M, top)


MEMORIES = [2**31, 3700]  # the second: several chunks of both sets, the last one ragged


@functools.cache
def program(**options):
    """Everything but the arrays is compiled in; one program for all that have the same options."""
    return jax.jit(lambda *it: per_example.influence(OBJECTIVE, *it, top=TOP, **options))


def ranked(train=TRAIN, params=PARAMS, test=TEST, **options):
    weight = ONES if train.weight is None else train.weight  # so that it is the same program
    return jax.device_get(program(**options)(params, train._replace(weight=weight), test))


@pytest.mark.parametrize("memory", MEMORIES)
def test_scores_are_inner_products_of_gradients(x64, memory):
    found = ranked(memory=memory)
    agrees(found, dense())
    assert not found.residual.any() and found.residual.shape == (M,)


def test_without_weights_it_is_the_same(x64):
    agrees(per_example.influence(OBJECTIVE, PARAMS, TRAIN, TEST, top=TOP), dense())


def test_the_second_memory_is_one_of_several_ragged_chunks(x64):
    size = MEMORIES[1] // 2 // _chunks.example_bytes(OBJECTIVE, PARAMS, TRAIN)
    assert 1 < size < M and N % size and N % (size - 1) and 1 < N // size


@pytest.mark.parametrize("damping", [None, 0.1])
@pytest.mark.parametrize("sizes", [(20, 20, 10), (4, 3)])
def test_a_chunk_needs_no_more_memory_than_it_was_given(sizes, damping, monkeypatch):
    """However many test examples there are: what there is for each pair of examples counts, too."""
    rng, many, asked = np.random.default_rng(0), 2000, []
    objective = jaxnn.LogLikelihood(jaxnn.Mlp(sizes), jaxnn.categorical)
    batch = Batch(rng.normal(size=(many, sizes[0])).astype(np.float32), rng.integers(0, 3, many).astype(np.int32))
    whole = _influence._rank

    def asks(*given, **options):
        asked.append((whole.lower(*given, **options), len(given[-1].y)))
        raise KeyboardInterrupt

    monkeypatch.setattr(_influence, "_rank", asks)
    with pytest.raises(KeyboardInterrupt):
        per_example.influence(objective, objective.model.init(0), batch, batch, damping=damping, memory=2**20)
    ((lowered, size),) = asked
    assert 1 < size < many / 10
    assert 0.25 * 2**20 < lowered.compile().memory_analysis().temp_size_in_bytes <= 1.05 * 2**20


def test_a_comparison_with_the_wrong_sign_order_or_row_would_fail(x64):
    found = ranked(memory=2**31)
    for wrong in (-dense(), dense()[::-1], dense()[:, ::-1], dense() * (1 + 1e-6), dense(damping=0.5)):
        with pytest.raises(AssertionError):
            agrees(found, wrong)


@pytest.mark.parametrize("memory", MEMORIES)
def test_along_a_run_scores_add_up_at_the_rates_of_the_steps(x64, memory):
    many, rates = [PARAMS, LATER, PARAMS], (0.5, 0.25, 0.0)
    agrees(ranked(params=many, rates=rates, memory=memory), dense(rates, many))


@pytest.mark.parametrize("memory", [2**31, 3000])
def test_damped_scores_are_those_of_a_dense_solve(x64, memory):
    found = ranked(TRAIN._replace(weight=WEIGHT), damping=0.05, memory=memory)
    agrees(found, dense(damping=0.05, weight=WEIGHT), WEIGHT > 0, rtol=1e-3)
    assert np.all(found.residual <= 2e-5) and np.all(found.residual > 0)
    agrees(ranked(damping=0.05, memory=memory), dense(damping=0.05), rtol=1e-3)


def test_damping_along_a_run_is_at_each_of_the_parameters(x64):
    found = ranked(params=[PARAMS, LATER], rates=(1.0, 0.5), damping=0.2)
    agrees(found, dense((1.0, 0.5), (PARAMS, LATER), damping=0.2), rtol=1e-3)


def test_the_residual_tells_that_the_solve_was_cut_short(x64):
    assert np.all(ranked(damping=1e-4, iterations=1).residual > 1e-2)


def test_a_new_damping_recompiles_nothing():
    params = jax.tree.map(np.float32, PARAMS)
    per_example.influence(OBJECTIVE, params, TRAIN, TEST, top=2, damping=0.1)
    with jax_log() as log:
        per_example.influence(OBJECTIVE, jax.tree.map(lambda a: 2 * a, params), TRAIN, TEST, top=2, damping=0.7)
    assert log.traced("_rank") == 0


# -------------------------------------------------------------------------------------------------- order and absence


@pytest.mark.parametrize("memory", MEMORIES)
def test_equal_scores_stand_in_the_order_of_the_examples(x64, memory):
    found = ranked(Batch(*(np.repeat(a[:1], N, axis=0) for a in TRAIN[:2])), memory=memory)
    np.testing.assert_array_equal(found.helpful, [range(TOP)] * M)
    np.testing.assert_array_equal(found.harmful, [range(TOP)] * M)
    twice = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 3]  # in different chunks
    found = ranked(Batch(*(a[twice] for a in TRAIN[:2])), memory=memory)
    scores = dense()[:, twice]
    for got, sign in ((found.helpful, -1), (found.harmful, 1)):
        np.testing.assert_array_equal(got, np.argsort(sign * scores.round(12), axis=1, kind="stable")[:, :TOP])


@pytest.mark.parametrize("memory", MEMORIES)
def test_absent_examples_are_not_ranked_and_places_without_one_say_so(x64, memory):
    weight = np.zeros(N)
    weight[[3, 8]] = 1, 2
    x = np.where(weight[:, None] > 0, TRAIN.x, np.nan)
    found = ranked(Batch(x, TRAIN.y, weight), memory=memory)
    scores = dense()[:, [3, 8]]
    order = np.array([3, 8])[np.argsort(-scores, axis=1)]
    np.testing.assert_array_equal(found.helpful[:, :2], order)
    np.testing.assert_array_equal(found.harmful[:, :2], order[:, ::-1])
    np.testing.assert_allclose(found.helpful_scores[:, :2], -np.sort(-scores, axis=1))
    np.testing.assert_allclose(found.harmful_scores[:, :2], np.sort(scores, axis=1))
    for indices, values, none in (
        (found.helpful, found.helpful_scores, -np.inf),
        (found.harmful, found.harmful_scores, np.inf),
    ):
        assert np.all(indices[:, 2:] == -1) and np.all(values[:, 2:] == none)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("at", [0, N - 1])
def test_a_training_example_that_is_not_a_number_is_not_ranked(x64, memory, at):
    x = TRAIN.x.copy()
    x[at] = np.nan
    agrees(ranked(TRAIN._replace(x=x), memory=memory), dense(), np.arange(N) != at)


def test_a_test_example_that_is_not_a_number_has_no_places(x64):
    x = TEST.x.copy()
    x[1] = np.nan
    found = ranked(test=TEST._replace(x=x), memory=2**31)
    assert np.all(found.helpful[1] == -1) and np.all(found.harmful_scores[1] == np.inf)
    assert np.all(found.helpful[[0, 2, 3]] >= 0)


@pytest.mark.parametrize("memory", MEMORIES)
def test_weights_of_the_training_examples_do_not_scale_their_scores(x64, memory):
    agrees(ranked(TRAIN._replace(weight=WEIGHT), memory=memory), dense(), WEIGHT > 0)


def test_a_dataset_is_ranked_like_its_batch_and_float32_finds_the_same():
    train = jaxnn.data.dataset(np.float32(TRAIN.x), TRAIN.y, num_classes=3)
    params = jax.tree.map(jnp.float32, PARAMS)
    a, b = (per_example.influence(OBJECTIVE, params, d, TEST, top=TOP) for d in (train, train.batch))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    np.testing.assert_array_equal(a.helpful, np.argsort(-dense(), axis=1)[:, :TOP])
    np.testing.assert_allclose(a.helpful_scores, -np.sort(-dense(), axis=1)[:, :TOP], rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"top": 0}, ConfigError, r"^influence: top is a whole number >= 1; got top=0"),
        ({"top": N + 1}, ConfigError, r"^influence: top is at most 11; got top=12"),
        ({"top": 2.0}, ConfigError, r"^influence: top is a whole number"),
        ({"damping": 0.0}, ConfigError, r"^influence: damping is a finite number > 0"),
        ({"damping": -1}, ConfigError, r"^influence: damping is a finite number > 0.*got damping=-1"),
        ({"damping": np.nan}, ConfigError, r"^influence: damping is a finite number > 0.*got damping=nan"),
        ({"iterations": 0}, ConfigError, r"^influence: iterations is a whole number >= 1; got iterations=0"),
        ({"memory": 0}, ConfigError, r"^influence: memory is a whole number >= 1; got memory=0"),
        (
            {"rates": [0.1]},
            ConfigError,
            r"^influence: with rates, params is a list with as many parameters; got 1 rates and tuple; pass one rate "
            r"for each$",
        ),
        (
            {"rates": [0.1], "params": [PARAMS] * 2},
            ConfigError,
            r"got 1 rates and a list of 2; pass one rate for each$",
        ),
        ({"rates": [], "params": []}, ConfigError, r"got 0 rates and a list of 0"),
        ({"rates": [-0.1], "params": [PARAMS]}, ConfigError, r"^influence: rates is a finite number >= 0; got"),
        ({"rates": [np.inf], "params": [PARAMS]}, ConfigError, r"^influence: rates is a finite number >= 0; got"),
        ({"test": Batch(np.ones((2, 5)), TEST.y[:2])}, ShapeError, r"^influence: the model reads D=4 features; got"),
        ({"train": TRAIN.x}, ConfigError, r"^influence: data is a Dataset or a Batch; got ndarray"),
        ({"memory": 60}, MemoryBudgetError, r"^influence: one example fits in memory; got memory=60 bytes where"),
        (
            {"memory": 300, "damping": 0.1},
            MemoryBudgetError,
            r"^influence: the vectors of one test example fit in memory; got memory=300 bytes where they take 360 bytes"
            r"; raise memory, or leave damping out$",
        ),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_compiled(wrong_types, more, error, message):
    it = {"params": PARAMS, "train": TRAIN, "test": TEST, "top": TOP} | more
    with jax_log() as log, pytest.raises(error, match=message):
        per_example.influence(OBJECTIVE, **it)
    assert log.compiled("_rank") == 0
