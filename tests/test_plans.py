"""Tests that plans are pure functions of (key, epoch, step), and that `shuffled` is as good as a uniform permutation.

What is tested: a bijection for every N, uniformity by chi-square against the exact distribution (seeds fixed, so a
verdict never flickers), ragged last batches, replacement, error texts. That every statistic can fail is shown with
biased shuffles, and with the library's own cut to four rounds. Not tested here: what a step does with its indices
(test_ascent).

Rounds, as measured with 134 statistics (N in 2..60,000, 800 to 200,000 permutations each), how many fell below 1e-4:
4 rounds 134, 6: 130, 8: 101, 12: 28 (N >= 300), 16: 9 (N >= 1,000), 20: 0, 24: 0, 28: 0.
"""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxnn
from jaxnn import _plans
from jaxnn._plans import FullBatch, MiniBatch, Stochastic, shuffled
from jaxnn._types import Plan

# Some 70 statistics are drawn below, with fixed seeds: a true shuffle would fall under this limit in 1 suite of 140.
P_VALUE = 1e-4


def permutations(seed, trials, num_examples, program=None):
    """`int[T, N]`: permutations of [0, N), each with its own key. N is data: one program serves all N of one width."""
    width = num_examples if num_examples > 512 else 16 if num_examples <= 16 else 512
    return np.asarray((program or _permutations)(seed, trials, width, num_examples))[:, :num_examples]


def make_permutations():
    def run(seed, trials, width, num_examples):
        positions = jnp.minimum(jnp.arange(width), num_examples - 1)
        keys = jax.random.split(jax.random.key(seed), trials)
        return jax.vmap(lambda key: shuffled(key, 0, positions, num_examples))(keys)

    return jax.jit(run, static_argnums=(1, 2))


_permutations = make_permutations()


# ------------------------------------------------------------------------- statistics: permutations [T, N] -> p-value


def chi_square(counts, expected):
    """P(a sum of squares this large | the expected counts are true)."""
    return scipy.stats.chisquare(counts, np.broadcast_to(expected, np.shape(counts))).pvalue


def first_position(perms):
    """Where the first example goes: uniform over up to 64 cells."""
    trials, n = perms.shape
    cells = min(n, 64)
    sizes = np.bincount(np.arange(n) * cells // n, minlength=cells)
    return chi_square(np.bincount(perms[:, 0] * cells // n, minlength=cells), trials * sizes / n)


def every_position(perms):
    """The N x N table of position and image, (N - 1)² degrees of freedom; a doubly stochastic table has mean 1/N."""
    trials, n = perms.shape
    counts = np.stack([np.bincount(column, minlength=n) for column in perms.T])
    expected = trials / n
    # rows and columns sum to T exactly, so the statistic is n/(n-1) of a chi-square on (n-1)² degrees of freedom
    statistic = np.sum((counts - expected) ** 2) / expected * (n - 1) / n
    return scipy.stats.chi2.sf(statistic, (n - 1) ** 2)


def first_pair(perms):
    """Where the first two examples go together: all N (N - 1) ordered pairs equally often."""
    trials, n = perms.shape
    counts = np.bincount(perms[:, 0] * n + perms[:, 1], minlength=n * n).reshape(n, n)
    return chi_square(counts[~np.eye(n, dtype=bool)], trials / (n * (n - 1)))


def mirror_pair(perms):
    """Where the first and the last example go together: the pair a swap-or-not round can exchange."""
    return first_pair(perms[:, [0, -1, *range(1, perms.shape[1] - 1)]])


def whole_permutation(perms):
    """All N! permutations equally often (parity included)."""
    trials, n = perms.shape
    codes = perms @ n ** np.arange(n)
    legal = [np.dot(p, n ** np.arange(n)) for p in itertools.permutations(range(n))]
    counts = np.bincount(codes, minlength=n**n)[legal]
    return chi_square(counts, trials / math.factorial(n))


def fixed_points(perms):
    """The number of fixed points, which is the number of matches with the stored order."""
    return matches(perms, np.arange(perms.shape[1]))


def matches(perms, others):
    """The number of places where independent permutations agree: P(m) = Σ_j (-1)^j / j! / m!, nearly Poisson(1)."""
    trials, n = perms.shape
    p = [sum((-1) ** j / math.factorial(j) for j in range(min(n - m, 20) + 1)) / math.factorial(m) for m in range(4)]
    p = np.append(p, 1 - np.sum(p))
    counts = np.bincount(np.minimum(np.sum(perms == others, axis=1), 4), minlength=5)
    possible = p > 1e-12  # N - 1 matches without N are impossible
    return chi_square(counts[possible], trials * p[possible]) if np.all(counts[~possible] == 0) else 0.0


def serial_correlation(perms):
    """The mean correlation of neighbours: -1 / (N - 1), by a t-test over permutations."""
    n = perms.shape[1]
    centred = perms - (n - 1) / 2
    r = np.mean(centred[:, :-1] * centred[:, 1:], axis=1) / ((n * n - 1) / 12)
    return scipy.stats.ttest_1samp(r, -1 / (n - 1)).pvalue


def neighbour_distance(perms):
    """|p(i) - p(i + 1)| over disjoint pairs: P(d) = 2 (N - d) / (N (N - 1)), d = 1..4 apart, the rest in 16 cells."""
    n = perms.shape[1]
    even = perms[:, : n // 2 * 2].reshape(-1, 2)
    d = np.abs(even[:, 0] - even[:, 1])
    edges = np.unique(np.concatenate([np.arange(1, 5), np.linspace(5, n, 17).astype(int)]))
    p = np.array([np.sum(2.0 * (n - np.arange(a, b))) for a, b in itertools.pairwise(edges)]) / (n * (n - 1.0))
    return chi_square(np.histogram(d, edges)[0], len(d) * p)


def neighbours_stay(perms):
    """How many neighbours are still 1 apart, Poisson with mean 2 / N a pair: what too few rounds spoil first."""
    n = perms.shape[1]
    even = perms[:, : n // 2 * 2].reshape(-1, 2)
    found, mean = np.sum(np.abs(even[:, 0] - even[:, 1]) == 1), len(even) * 2 / n
    return min(1.0, 2 * min(scipy.stats.poisson.sf(found - 1, mean), scipy.stats.poisson.cdf(found, mean)))


SMALL = (whole_permutation, every_position, first_pair, fixed_points)
MEDIUM = (first_position, every_position, first_pair, mirror_pair, fixed_points, serial_correlation)
LARGE = (first_position, fixed_points, serial_correlation, neighbour_distance, neighbours_stay)
TRIALS = {3: 20000, 4: 20000, 5: 20000, 8: 20000, 13: 20000, 16: 20000, 100: 2000, 300: 2000, 512: 2000, 60000: 60}


def statistics(num_examples):
    return SMALL if num_examples <= 5 else MEDIUM if num_examples <= 16 else LARGE


# ------------------------------------------------------------------------------------------------------- the shuffle


def test_every_shuffle_of_1_to_300_examples_is_a_permutation():
    sizes = jnp.arange(1, 301)
    shuffle = jax.jit(
        jax.vmap(
            jax.vmap(lambda key, n: shuffled(key, 0, jnp.minimum(jnp.arange(300), n - 1), n), (None, 0)), (0, None)
        )
    )
    for images in np.asarray(shuffle(jax.random.split(jax.random.key(0), 3), sizes)):
        for n in range(1, 301):
            np.testing.assert_array_equal(np.sort(images[n - 1, :n]), np.arange(n))


def test_large_shuffles_are_permutations_up_to_the_largest_int32():
    width = 200_003
    shuffle = jax.jit(shuffled)
    key = jax.random.key(1)
    for n in (width, 2**17, 65_537, 60_000):
        images = np.asarray(shuffle(key, 0, jnp.minimum(jnp.arange(width), n - 1), n))[:n]
        np.testing.assert_array_equal(np.bincount(images, minlength=n), 1)
    n = 2**31 - 1
    positions = np.unique(np.random.default_rng(0).integers(0, n, width))
    padded = np.append(positions, np.full(width - len(positions), positions[0])).astype(np.int32)
    images = np.asarray(shuffle(key, 0, padded, n))[: len(positions)]
    assert len(np.unique(images)) == len(positions)
    assert 0 <= images.min() < n / 100
    assert n - n / 100 < images.max() < n


@pytest.mark.parametrize("num_examples", TRIALS)
def test_a_shuffle_cannot_be_told_from_a_uniform_permutation(num_examples):
    perms = permutations(7, TRIALS[num_examples], num_examples)
    p_values = {statistic.__name__: statistic(perms) for statistic in statistics(num_examples)}
    assert min(p_values.values()) > P_VALUE, p_values


def test_the_orders_of_successive_epochs_and_of_successive_seeds_are_independent():
    n, trials = 100, 2000
    plan, epochs = MiniBatch(n), jnp.arange(trials + 1)
    order = jax.jit(jax.vmap(lambda key, epoch: plan.indices(key, epoch, 0, n)[0], (None, 0)))
    by_epoch = np.asarray(order(jax.random.key(3), epochs))
    by_seed = np.asarray(jax.jit(jax.vmap(lambda seed: plan.indices(jax.random.key(seed), 0, 0, n)[0]))(epochs))
    for perms in (by_epoch, by_seed):
        assert matches(perms[:-1], perms[1:]) > P_VALUE
        inverse = np.argsort(perms, axis=1)
        composed = np.take_along_axis(perms[1:], inverse[:-1], axis=1)  # the step from one order to the next
        for statistic in LARGE:
            assert statistic(composed) > P_VALUE, statistic.__name__


def test_numpys_own_shuffle_passes_every_statistic():
    rng = np.random.default_rng(0)
    for n, trials in TRIALS.items():
        perms = rng.permuted(np.tile(np.arange(n), (trials, 1)), axis=1)
        p_values = {statistic.__name__: statistic(perms) for statistic in statistics(n)}
        assert min(p_values.values()) > P_VALUE, p_values


def biased_orders(kind, n, trials=20000):
    """Orders that are permutations, yet not uniform."""
    rng = np.random.default_rng(0)
    orders = np.tile(np.arange(n), (trials, 1))
    rows = np.arange(trials)
    if kind == "rotation only":
        return (orders + rng.integers(0, n, (trials, 1))) % n
    if kind == "even only":
        orders = rng.permuted(orders, axis=1)
        odd = [np.linalg.det(np.eye(n)[p]) < 0 for p in orders]
        orders[odd] = orders[odd][:, [1, 0, *range(2, n)]]
        return orders
    for i in range(n - 1, 0, -1):  # Fisher and Yates swap i with j <= i
        j = rng.integers(0, {"swaps with any": n, "never swaps with itself": i}[kind], trials)
        orders[rows, i], orders[rows, j] = orders[rows, j].copy(), orders[rows, i].copy()
    return orders


@pytest.mark.parametrize(
    ("kind", "n", "caught_by"),
    [
        ("rotation only", 16, first_pair),
        ("rotation only", 100, neighbour_distance),
        ("rotation only", 100, neighbours_stay),
        ("rotation only", 100, serial_correlation),
        ("even only", 4, whole_permutation),
        ("swaps with any", 5, whole_permutation),
        ("swaps with any", 8, every_position),
        ("never swaps with itself", 5, fixed_points),
        ("never swaps with itself", 8, first_position),
    ],
)
def test_a_biased_shuffle_is_caught(kind, n, caught_by):
    assert caught_by(biased_orders(kind, n)) < P_VALUE / 100


def test_too_few_rounds_are_caught_by_every_statistic(monkeypatch):
    monkeypatch.setattr(_plans, "_ROUNDS", 4)
    few = make_permutations()  # a fresh trace, which reads the constant again
    for n, tests in ((5, SMALL), (16, MEDIUM), (300, LARGE)):
        perms = permutations(7, TRIALS[n], n, few)
        assert {t.__name__ for t in tests if t(perms) > P_VALUE} == set()


def test_a_shuffle_needs_no_more_than_its_own_positions():
    key, n = jax.random.key(4), 1000
    some = np.array([[3, 999], [0, 3]])
    whole, part = jax.jit(lambda: (shuffled(key, 3, jnp.arange(n), n), shuffled(key, 3, jnp.asarray(some), n)))()
    np.testing.assert_array_equal(part, np.asarray(whole)[some])


# ---------------------------------------------------------------------------------------------------------- the plans


def epoch_of(plan, num_examples, key=5, epoch=2):
    """Indices and weights of every step of one epoch, [S, B]; weights of None are ones."""
    indices, weights = _epoch_of(plan, num_examples, jax.random.key(key), epoch)
    return np.asarray(indices), np.ones(indices.shape) if weights is None else np.asarray(weights)


@partial(jax.jit, static_argnums=(0, 1))
def _epoch_of(plan, num_examples, key, epoch):
    return jax.vmap(lambda step: plan.indices(key, epoch, step, num_examples))(jnp.arange(plan.num_steps(num_examples)))


@pytest.mark.parametrize("size", [1, 4, 5, 12, 13, 20])
def test_every_example_comes_exactly_once_an_epoch_whatever_the_batch_size(size):
    plan, n = MiniBatch(size), 13
    indices, weights = epoch_of(plan, n)
    assert indices.shape == weights.shape == (plan.num_steps(n), plan.batch_size(n))
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(np.bincount(indices.ravel(), weights.ravel(), n), 1)
    np.testing.assert_array_equal(indices[weights == 0], 0)  # padding reads example 0, at weight 0
    assert np.sum(weights == 0) == plan.num_steps(n) * plan.batch_size(n) - n
    assert np.all(weights[:-1] == 1)
    assert np.all(np.diff(weights[-1]) <= 0)  # padding comes last


def test_the_order_of_an_epoch_does_not_depend_on_the_batch_size():
    orders = []
    for size in (1, 4, 5, 13):
        indices, weights = epoch_of(MiniBatch(size), 13)
        orders.append(indices[weights > 0])
    for order in orders[1:]:
        np.testing.assert_array_equal(order, orders[0])


def test_a_batch_larger_than_the_data_is_the_whole_data_to_the_bit():
    for got, want in zip(epoch_of(MiniBatch(20), 13), epoch_of(MiniBatch(13), 13), strict=True):
        np.testing.assert_array_equal(got, want)
    assert MiniBatch(20).batch_size(13) == 13
    assert MiniBatch(20).num_steps(13) == 1


def test_weights_come_only_where_a_batch_is_ragged():
    key = jax.random.key(0)
    for plan, ragged in ((MiniBatch(4), False), (MiniBatch(5), True), (MiniBatch(5, replacement=True), False)):
        _, weights = jax.eval_shape(lambda plan=plan: plan.indices(key, 0, 0, 12))
        assert (weights is not None) == ragged


def test_indices_are_a_pure_function_of_key_epoch_and_step():
    for plan in (MiniBatch(5), MiniBatch(5, replacement=True)):
        one_step = jax.jit(partial(plan.indices, num_examples=13))  # as a run that resumes in mid-epoch asks
        whole = epoch_of(plan, 13)[0]
        np.testing.assert_array_equal(whole[1], one_step(jax.random.key(5), 2, 1)[0])
        assert np.any(whole != epoch_of(plan, 13, epoch=3)[0])
        assert np.any(whole != epoch_of(plan, 13, key=6)[0])


def test_indices_are_the_same_in_double_precision():
    single = [epoch_of(plan, 13) for plan in (MiniBatch(5), MiniBatch(5, replacement=True))]
    with jax.enable_x64(True):
        double = [epoch_of(plan, 13) for plan in (MiniBatch(5), MiniBatch(5, replacement=True))]
    for (i, _), (j, _) in zip(single, double, strict=True):
        np.testing.assert_array_equal(i, j)
        assert i.dtype == j.dtype == np.int32
    assert single[0][1].dtype == np.float32
    assert double[0][1].dtype == np.float64


def test_with_replacement_every_example_is_drawn_equally_often_and_steps_are_independent():
    n, plan = 50, MiniBatch(20, replacement=True)
    epochs, steps = (a.ravel() for a in jnp.indices((2000, 3)))
    draw = jax.jit(jax.vmap(lambda epoch, step: plan.indices(jax.random.key(0), epoch, step, n)[0]))
    indices = np.asarray(draw(epochs, steps)).reshape(2000, 3, 20)
    assert indices.min() == 0
    assert indices.max() == n - 1
    assert chi_square(np.bincount(indices.ravel(), minlength=n), indices.size / n) > P_VALUE
    for pairs in (
        indices[:, 0, 0] * n + indices[:, 0, 1],
        indices[:, 0, 0] * n + indices[:, 1, 0],
    ):  # in a step, across
        cells = np.bincount(pairs // n // 5 * 10 + pairs % n // 5, minlength=100)
        assert chi_square(cells, len(pairs) / 100) > P_VALUE


def test_stochastic_is_a_mini_batch_of_one_by_default_with_replacement():
    assert Stochastic() == MiniBatch(1, replacement=True)
    assert Stochastic(replacement=False) == MiniBatch(1)
    assert Stochastic().num_steps(7) == 7
    np.testing.assert_array_equal(np.sort(epoch_of(Stochastic(replacement=False), 7)[0].ravel()), np.arange(7))


def test_a_full_batch_is_one_step_over_the_stored_order():
    plan = FullBatch()
    assert (plan.batch_size(7), plan.num_steps(7)) == (7, 1)
    assert plan.indices(jax.random.key(0), 0, 0, 7) == (None, None)


@pytest.mark.parametrize(("n", "size", "steps"), [(1, 1, 1), (1, 9, 1), (10, 10, 1), (10, 9, 2), (10, 3, 4), (9, 3, 3)])
def test_the_number_of_steps_is_n_over_b_rounded_up(n, size, steps):
    assert MiniBatch(size).num_steps(n) == MiniBatch(size, replacement=True).num_steps(n) == steps


def test_plans_are_values_without_leaves_and_keep_the_contract(wrong_types):
    assert MiniBatch(np.int64(3)) == MiniBatch(3) != MiniBatch(3, replacement=True)
    assert hash(MiniBatch(3)) == hash(MiniBatch(3))
    assert repr(MiniBatch(3)) == "MiniBatch(size=3, replacement=False)"
    for plan in (FullBatch(), MiniBatch(3), Stochastic()):
        assert isinstance(plan, Plan)
        assert jax.tree.leaves(plan) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MiniBatch(0), r"MiniBatch: size is a whole number >= 1; got size=0; pass an int, 1 or more"),
        (lambda: MiniBatch(-1), r"got size=-1"),
        (lambda: MiniBatch(1.5), r"got size=1\.5"),
        (lambda: MiniBatch(True), r"got size=True"),
        (lambda: MiniBatch("32"), r"got size='32'"),
        (lambda: MiniBatch(None), r"got size=None"),
        (
            lambda: MiniBatch(3, replacement=1),
            r"MiniBatch: replacement is True or False; got replacement=1; pass one of them",
        ),
        (lambda: Stochastic(replacement="no"), r"replacement is True or False; got replacement='no'"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(wrong_types, make, message):
    with pytest.raises(jaxnn.ConfigError, match=message):
        make()
