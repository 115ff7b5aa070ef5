"""sweep: each lane is the run that fit makes of its settings, whatever runs beside it; folds, table, verdict."""

import csv
import functools
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import types
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from compiles import FLAGS, jax_log
from small import HOLD_OUT, MODEL, OBJECTIVE, PLAN, TRAIN, rows_of

import jaxnn
from jaxnn import ConfigError, MemoryBudgetError, ShapeError, Status, data
from jaxnn._sweep import _driver, _place, _program

EPOCHS = 12


def of_seed(seed):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), MODEL.init(seed))


def in_double(batch):
    return batch._replace(x=np.asarray(batch.x, np.float64))


def sweep(grid, objective=OBJECTIVE, optimizer=optax.adam, train=TRAIN, hold_out=HOLD_OUT, **options):
    """Run small lanes in double precision."""
    options = {"plan": PLAN, "max_epochs": EPOCHS, "patience": 3, "params": of_seed} | options
    hold_out = None if hold_out is None else in_double(hold_out)
    return jaxnn.sweep(objective, optimizer, in_double(train), hold_out, grid=grid, **options)


def fit(settings, objective=OBJECTIVE, optimizer=optax.adam, train=TRAIN, hold_out=HOLD_OUT, **options):
    """Run one lane as a fit."""
    own = {"learning_rate", "seed", "order", "l2", "max_norm", "fold"}
    numbers = {name: value for name, value in settings.items() if name not in own}
    if "l2" in settings:
        objective = replace(objective, l2=settings["l2"])
    if "max_norm" in settings:
        options = options | {"aggregate": jaxnn.clipped(settings["max_norm"])}
    if numbers:
        optimizer = functools.partial(optimizer, **numbers)
    options = {"plan": PLAN, "max_epochs": EPOCHS, "patience": 3} | options
    hold_out = None if hold_out is None else in_double(hold_out)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "diverged", RuntimeWarning)
        return jaxnn.fit(
        objective, optimizer, of_seed(settings.get("seed", 0)), in_double(train), hold_out,
        key=settings.get("order", 0), learning_rate=settings.get("learning_rate"), **options,
    )  # fmt: skip


def is_the_fit(run, result, rtol=1e-10):
    """The same status, epochs, history and parameters up to rounding."""
    assert (run.status, run.best_epoch) == (result.status, result.best_epoch)
    np.testing.assert_allclose(rows_of(run.history), rows_of(result.history), rtol=rtol, atol=1e-12)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=1e-12), run.params, result.params)


GRIDS = {
    "rates and seeds": ({"learning_rate": [0.01, 0.1], "seed": range(3)}, {}),
    "orders of their own": ({"learning_rate": [0.01, 0.1], "order": [0, 5, 7]}, {}),
    "rates that stop early, diverge and go on": (
        {"learning_rate": [0.3, 1e30, 1e-3, 3.0]},
        {"optimizer": optax.sgd, "objective": replace(OBJECTIVE, l2=0.1)},
    ),
    "penalties and momenta": (
        {"learning_rate": 0.1, "l2": [0.0, 0.1, 1.0], "momentum": [0.5, 0.9]},
        {"optimizer": optax.sgd},
    ),
    "norms of clipping": ({"learning_rate": 0.1, "max_norm": [0.0, 0.2, math.inf]}, {"aggregate": jaxnn.clipped(1.0)}),
    "drawn with replacement, with options of Adam": (
        {"learning_rate": 0.03, "order": [0, 3], "b1": [0.5, 0.9]},
        {"plan": jaxnn.MiniBatch(8, replacement=True)},
    ),
    "without a hold-out": ({"learning_rate": [0.01, 0.1]}, {"hold_out": None}),
    "full batches": ({"learning_rate": [0.01, 0.1], "order": [0, 1]}, {"plan": jaxnn.FullBatch()}),
    "an accuracy that is watched": ({"learning_rate": [0.01, 0.1]}, {"monitor": "accuracy", "min_delta": 0.01}),
}


@pytest.mark.parametrize("name", GRIDS)
def test_every_lane_is_the_fit_of_its_settings(x64, name):
    grid, options = GRIDS[name]
    runs = sweep(grid, **options)
    columns = [[v] if np.ndim(v) == 0 else list(v) for v in grid.values()]
    assert len(runs) == math.prod(map(len, columns))
    for i, values in enumerate(itertools.product(*columns)):
        assert runs[i].settings == dict(zip(grid, values, strict=True)) and runs[i].number == i
        is_the_fit(runs[i], fit(runs[i].settings, **options))
    if name.startswith("rates that"):
        assert {Status(s).name for s in runs.status} == {"STOPPED_EARLY", "DIVERGED", "MAX_EPOCHS"}


def test_a_comparison_with_another_run_would_fail(x64):
    runs = sweep({"learning_rate": [0.01, 0.1], "seed": range(2)})
    for more in ({"learning_rate": 0.0101}, {"seed": 1}, {"order": 1}):
        with pytest.raises(AssertionError):
            is_the_fit(runs[0], fit({"learning_rate": 0.01} | more))


SHRUNK = replace(OBJECTIVE, l2=0.1)
RATES = [0.3, 1e30, 1e-3, 3.0, 0.1, 0.03, 1.0, 1e-4]


def at(rates, **options):
    return sweep([{"learning_rate": rate} for rate in rates], optimizer=optax.sgd, objective=SHRUNK, **options)


def same_runs(a, b, rtol=1e-10):
    np.testing.assert_array_equal(a.status, b.status)
    np.testing.assert_array_equal(a.best_epoch, b.best_epoch)
    np.testing.assert_array_equal(a.epochs, b.epochs)
    for x, y in zip(jax.tree.leaves((a.params, a.history)), jax.tree.leaves((b.params, b.history)), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-12)


def test_order_number_groups_and_dropping_of_lanes_change_nothing(x64, monkeypatch):
    whole = at(RATES)
    for i, rate in enumerate(RATES):
        if i in (0, 1, 2):
            is_the_fit(whole[i], fit({"learning_rate": rate}, optimizer=optax.sgd, objective=SHRUNK))
    turned = at(RATES[::-1])
    np.testing.assert_array_equal(whole.status, turned.status[::-1])
    np.testing.assert_allclose(whole.value, turned.value[::-1], rtol=1e-10)
    sizes = []
    advance = _program.advance_lanes

    def noted(*given):
        sizes.append(len(given[3].status))
        return advance(*given)

    monkeypatch.setattr(_driver, "advance_lanes", noted)
    same_runs(at(RATES, memory=3 * one_lane()), whole)
    assert set(sizes) == {3}  # 3 + 3 + 2, filled up
    sizes.clear()
    monkeypatch.setattr(_place, "FEWEST", 2)
    with monkeypatch.context() as small:
        small.setattr(_place, "CACHE", 1)  # on a CPU groups keep to the cache, but for the fewest worth a program
        small.setattr(_place, "WORTH", 1e30)
        same_runs(at(RATES), whole)
    assert set(sizes) == ({4} if jax.default_backend() == "cpu" else {8})
    sizes.clear()
    monkeypatch.setattr(_place, "FEWEST", 1)
    monkeypatch.setattr(_place, "WORTH", 0)
    same_runs(at(RATES), whole)
    assert sizes[0] == 8 and sizes == sorted(sizes, reverse=True) and sizes[-1] <= 4


@functools.cache
def one_lane():
    """The bytes that one lane takes, as the error for too little memory says them."""
    with pytest.raises(
        MemoryBudgetError, match=r"^sweep: one run fits in memory; got memory=1 bytes where it takes"
    ) as e:
        at(RATES, memory=1)
    number, unit = str(e.value).partition("takes ")[2].split(";")[0].split()
    return math.ceil((float(number.replace(",", "")) + 0.05) * {"bytes": 1, "KiB": 2**10, "MiB": 2**20}[unit])


def test_where_pieces_end_changes_no_bit(monkeypatch):
    """Dropping of lanes is decided by the epoch, never by where the clock let a piece end."""

    def bits_in_pieces_of(steps):
        monkeypatch.setattr(_driver, "Pace", lambda: types.SimpleNamespace(steps=steps, update=lambda taken, now: None))
        runs = jaxnn.sweep(
            SHRUNK, optax.sgd, TRAIN, HOLD_OUT, grid={"learning_rate": [1e30] * 12 + [0.1, 0.03, 0.2, 0.3] * 2},
            plan=jaxnn.FullBatch(), max_epochs=EPOCHS,
        )  # fmt: skip
        return small.bits((runs.params, runs.value)), rows_of(runs[13].history).tobytes()

    assert bits_in_pieces_of(1) == bits_in_pieces_of(1000) == bits_in_pieces_of(3)


def test_a_long_run_is_kept_row_by_row(x64, monkeypatch):
    monkeypatch.setattr(_driver, "_ROWS", 4)
    runs = sweep({"learning_rate": [0.01, 0.001]}, patience=None)
    for run in runs:
        is_the_fit(run, fit(run.settings, patience=None))
    assert runs.history.epoch.shape == (2, EPOCHS + 1)
    assert sweep({"learning_rate": [0.3]}, max_epochs=10**6, patience=2).history.epoch.shape[1] < 100


def test_a_lane_that_diverges_changes_no_bit_of_the_others(x64):
    kept = [i for i, rate in enumerate(RATES) if rate < 1e3]
    a, b = at(RATES), at([0.02 if rate > 1e3 else rate for rate in RATES])
    for x, y in zip(jax.tree.leaves((a.params, a.history)), jax.tree.leaves((b.params, b.history)), strict=True):
        np.testing.assert_array_equal(np.asarray(x)[kept], np.asarray(y)[kept])
    assert a.status[1] == Status.DIVERGED != b.status[1]


def test_other_values_compile_nothing():
    def run(scale, seeds):
        grid = {"learning_rate": [0.1 * scale, 0.2], "seed": seeds, "l2": [0.1 * scale], "b1": [0.9, 0.5 * scale]}
        return jaxnn.sweep(OBJECTIVE, optax.adam, TRAIN, HOLD_OUT, grid=grid, plan=PLAN, max_epochs=5)

    run(1.0, [1, 2])
    with jax_log() as log:
        run(0.9, [3, 4])
    assert log.traced("advance_lanes") == log.traced("begin_lanes") == 0


def test_the_memory_of_a_lane_is_what_its_program_takes():
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((64, 32, 10)), jaxnn.categorical)
    rng, seen, grid = np.random.default_rng(0), [], {"learning_rate": [0.1], "seed": range(64)}
    batch = jaxnn.Batch(rng.normal(size=(1200, 64)).astype(np.float32), rng.integers(0, 10, 1200).astype(np.int32))
    with pytest.MonkeyPatch.context() as patch:

        def seeing(*given):
            seen.append(_program.advance_lanes.lower(*given).compile().memory_analysis().temp_size_in_bytes)
            raise KeyboardInterrupt

        patch.setattr(_driver, "advance_lanes", seeing)
        with pytest.raises(KeyboardInterrupt):
            jaxnn.sweep(objective, optax.adam, batch, batch, grid=grid, memory=2**29)
        with pytest.raises(MemoryBudgetError) as error:
            jaxnn.sweep(objective, optax.adam, batch, batch, grid=grid, memory=1)
    text = str(error.value).partition("takes ")[2].split(";")[0].split()
    told = float(text[0].replace(",", "")) * {"KiB": 2**10, "MiB": 2**20}[text[1]]
    assert 0.25 * told < seen[0] / 64 < told


def test_ctrl_c_ends_it_with_what_was_reached(x64, monkeypatch):
    class Pace:
        steps, taken = 4, 0

        def update(self, taken, now):
            self.taken += taken
            if self.taken == 8:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(_driver, "Pace", Pace)
    told = []
    runs = at(RATES, memory=4 * one_lane(), progress=told.append)
    assert told[-1].status == "interrupted" and told[-1].total == 8
    assert {Status(s).name for s in runs.status[4:]} == {"INTERRUPTED"}
    assert runs.status[1] == Status.DIVERGED and runs.status[0] == Status.INTERRUPTED
    np.testing.assert_array_equal(runs.epochs[[0, 2, 3]], 2)
    assert np.all(runs.best_epoch[4:] == -1) and np.all(runs.value[4:] == -np.inf)
    jax.tree.map(lambda leaf, first: np.testing.assert_array_equal(leaf[4:], [first] * 4), runs.params, of_seed(0))
    assert "7 of 8 runs were interrupted" in jaxnn.verdict(runs).why
    assert runs.epochs[4:].tolist() == [0] * 4 and told[-1].epoch == pytest.approx(8 / 3)
    whole = at(RATES)
    np.testing.assert_allclose(runs.history.log_likelihood[0, :3], whole.history.log_likelihood[0, :3], rtol=1e-10)


def test_progress_is_told_or_drawn(capsys):
    told = []
    grid = {"learning_rate": [0.1, 1e30]}
    jaxnn.sweep(OBJECTIVE, optax.sgd, TRAIN, HOLD_OUT, grid=grid, plan=PLAN, max_epochs=5, progress=told.append)
    last = told[-1]
    assert (last.ended, last.total, last.running, last.diverged, last.status) == (2, 2, 0, 1, "done")
    assert last.best_settings == {"learning_rate": 0.1} and np.isfinite(last.best)
    jaxnn.sweep(OBJECTIVE, optax.sgd, TRAIN, HOLD_OUT, grid=grid, plan=PLAN, max_epochs=5, progress=True)
    assert "2/2 runs ended, 1 diverged  best" in capsys.readouterr().err
    jaxnn.sweep(OBJECTIVE, optax.sgd, TRAIN, HOLD_OUT, grid=grid, plan=PLAN, max_epochs=5, progress=False)
    assert capsys.readouterr().err == ""


def test_no_epochs_leave_the_first_parameters(x64):
    runs = sweep({"learning_rate": [0.1], "seed": [0, 1]}, max_epochs=0)
    assert [str(Status(s)) for s in runs.status] == ["max_epochs"] * 2 and runs.best_epoch.tolist() == [0, 0]
    jax.tree.map(lambda leaf, first: np.testing.assert_array_equal(leaf[1], first), runs.params, of_seed(1))
    assert np.isnan(runs.update_ratio).all()


SPREAD = """
import json, jax, numpy as np, optax, jaxnn, small
grid = {"learning_rate": [0.3, 1e30, 0.01], "order": range(2)}
train = jax.device_put(small.TRAIN, jax.devices()[0])
folds = jaxnn.data.k_fold(small.TRAIN, 2)
runs = [
    jaxnn.sweep(small.OBJECTIVE, optax.sgd, train, small.HOLD_OUT, grid=grid, plan=small.PLAN, max_epochs=5),
    jaxnn.sweep(small.OBJECTIVE, optax.sgd, train, grid={"learning_rate": 0.1}, folds=folds, max_epochs=2),
]
print(json.dumps([len(jax.devices()), [[r.status.tolist(), r.best_epoch.tolist(), r.value.tolist()] for r in runs]]))
"""


def test_lanes_are_spread_over_the_devices_there_are():
    answers = []
    for count in (1, 4):
        flags = f"{FLAGS} --xla_force_host_platform_device_count={count}"
        env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": "tests:."}
        done = subprocess.run([sys.executable, "-c", SPREAD], capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout))
    (one, alone), (four, spread) = answers
    assert (one, four) == (1, 4)
    for (status, epochs, value), (others, other_epochs, other_value) in zip(alone, spread, strict=True):
        assert status == others and epochs == other_epochs
        np.testing.assert_allclose(value, other_value, rtol=1e-5)


# -------------------------------------------------------------------------------------------------------------- folds


HALF = jaxnn.Batch(TRAIN.x, TRAIN.y, np.repeat([0, 1], 10).astype(np.float32))
WEIGHTED = jaxnn.Batch(TRAIN.x, TRAIN.y, np.where(np.arange(20) % 5 == 3, 2, 1).astype(np.float32))


@pytest.mark.parametrize("batch", [TRAIN, WEIGHTED], ids=["ones", "weights"])
def test_each_example_judges_once_and_teaches_in_all_other_folds(batch):
    folds = data.k_fold(batch, 3, seed=1)
    weight = np.ones(20) if batch.weight is None else batch.weight
    assert folds.train.shape == (3, 20)
    np.testing.assert_array_equal(folds.hold_out.sum(axis=0), weight)
    np.testing.assert_array_equal(folds.train, np.where(folds.hold_out > 0, 0, weight))
    for k in range(3):  # every class has its share
        judges = np.bincount(batch.y[folds.hold_out[k] > 0], minlength=3)
        assert np.all(np.abs(judges - np.bincount(batch.y, minlength=3) / 3) < 1)
    again, other = data.k_fold(batch, 3, seed=1), data.k_fold(batch, 3, seed=2)
    np.testing.assert_array_equal(folds.train, again.train)
    assert np.any(folds.train != other.train)


def test_a_resample_has_as_many_examples_and_is_judged_by_those_left_out():
    resamples = data.bootstrap(WEIGHTED, 50)
    counts = resamples.train / WEIGHTED.weight
    np.testing.assert_array_equal(counts.sum(axis=1), 20)
    np.testing.assert_array_equal(resamples.hold_out, np.where(counts == 0, WEIGHTED.weight, 0))
    left_out = (counts == 0).mean()
    assert abs(left_out - (1 - 1 / 20) ** 20) < 0.03  # 0.358; its standard error is 0.01


def test_a_lane_of_a_fold_is_the_fit_with_its_weights(x64):
    folds = data.k_fold(TRAIN, 3)
    runs = sweep({"learning_rate": [0.1, 0.01]}, folds=folds, hold_out=None)
    assert runs.settings["fold"].tolist() == [0, 1, 2, 0, 1, 2]
    listed = sweep([{"learning_rate": 0.1}, {"learning_rate": 0.01}], folds=folds, hold_out=None)
    np.testing.assert_array_equal(listed.value, runs.value)
    for run in (runs[0], runs[5]):
        k = run.settings["fold"]
        train, hold_out = TRAIN._replace(weight=folds.train[k]), TRAIN._replace(weight=folds.hold_out[k])
        is_the_fit(run, fit(run.settings, train=train, hold_out=hold_out))


# ---------------------------------------------------------------------------------- the table, the verdict, ensembles


@functools.cache
def flowers():
    grid = {"learning_rate": [0.01, 0.3, 1e30], "seed": range(3)}
    return jaxnn.sweep(OBJECTIVE, optax.sgd, TRAIN, HOLD_OUT, grid=grid, plan=PLAN, max_epochs=5)


def test_the_table_says_the_same_on_paper(tmp_path):
    runs = flowers()
    rows = runs.rows()
    assert [row["status"] for row in rows[6:]] == ["diverged"] * 3 and rows[4]["seed"] == 1
    with open(runs.to_csv(tmp_path / "runs.csv"), newline="") as file:
        written = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in rows] == written
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(runs.to_parquet(tmp_path / "runs.parquet"))
    assert table.column_names == list(rows[0])
    np.testing.assert_array_equal(table["log_likelihood"].to_numpy(), runs.log_likelihood)
    best = runs.best()
    first = str(runs).splitlines()[1].split()
    assert first[0] == f"{best.settings['learning_rate']:.4g}" and first[1] == str(best.settings["seed"])
    assert len(str(runs).splitlines()) == 10
    assert runs[-1].number == 8 and runs.where(learning_rate=0.3, seed=1).tolist() == [4]
    assert runs.where().tolist() == list(range(9))
    assert best.log_likelihood == runs.value.max() == best.history.hold_out_log_likelihood[best.best_epoch]
    assert runs.params[0].kernel.shape == (9, 3, 4) and [run.number for run in runs] == list(range(9))
    assert repr(runs) == str(runs)
    median = np.median(runs.history.update_ratio[0, 1:])
    np.testing.assert_allclose(runs.update_ratio[0], median)


def table(rates, values, ratios, status=Status.MAX_EPOCHS, **settings):
    """Runs of these settings and values, for the verdict alone."""
    runs = flowers()
    status = np.broadcast_to(status, len(rates)).astype(np.int32)
    columns = {"learning_rate": np.asarray(rates)} | {name: np.asarray(v) for name, v in settings.items()}
    return replace(runs, settings=columns, value=np.asarray(values), update_ratio=np.asarray(ratios), status=status)


def test_the_verdict_takes_the_best_mean_and_says_how_sure_it_is():
    runs = table(
        [0.1] * 2 + [1.0] * 2 + [0.01] * 2, [-1.0, -1.2, -0.9, -1.25, -2, -2], [1e-3, 3e-3, 0.1, 0.1, 1e-5, 1e-5]
    )
    found = jaxnn.verdict(runs)
    assert [rate.learning_rate for rate in found.rates] == [0.01, 0.1, 1.0] and found.recommended == 1.0
    one = found.rates[1]
    assert (one.runs, one.diverged, one.update_ratio) == (2, 0, 0.002)
    np.testing.assert_allclose([one.mean, one.spread, one.standard_error], [-1.1, 0.2 / 2**0.5, 0.1])
    assert "Within a standard error of it: 0.1." in found.why and "largest rate tried" in found.why
    assert "10.00% of w, above the 0.1 to 1 %" in found.why
    assert [line.split()[-2:] for line in str(found).splitlines()[2:4]] == [["1", "%"], ["take", "this"]]


def test_a_rate_at_which_runs_diverge_is_not_taken_for_a_better_mean():
    status = [Status.MAX_EPOCHS, Status.MAX_EPOCHS, Status.MAX_EPOCHS, Status.DIVERGED]
    found = jaxnn.verdict(table([0.1, 0.1, 1.0, 1.0], [-1.0, -1.0, -0.5, -0.4], [0.005] * 4, status))
    assert (
        "0.1 has the best mean hold-out log likelihood of the rates at which fewest runs diverge, -1.0000" in found.why
    )
    assert "standard error" not in found.why
    assert found.recommended == 0.1 and "Runs diverge at 1." in found.why and "within the 0.1" in found.why
    assert found.rates[1].diverged == 1 and found.rates[1].mean == -0.5
    with pytest.raises(
        ConfigError, match=r"^verdict: some run has a value; got none of 1, 1 diverged, 0 interrupted; try"
    ):
        jaxnn.verdict(table([0.1], [-1.0], [0.1], Status.DIVERGED))


def test_a_rate_without_a_value_is_not_taken_for_one_without_divergence():
    status = [Status.MAX_EPOCHS, Status.DIVERGED, Status.INTERRUPTED, Status.INTERRUPTED]
    found = jaxnn.verdict(table([0.1, 0.1, 1.0, 1.0], [-1.0, -0.9, -np.inf, -np.inf], [0.005] * 4, status))
    assert found.recommended == 0.1 and found.rates[1].judged == 0 and "2 of 4 runs were interrupted" in found.why


def test_the_verdict_holds_other_settings_at_those_of_the_best_mean():
    found = jaxnn.verdict(table([0.1, 0.1, 1.0, 1.0], [-1, -0.2, -0.5, -3], [0.005] * 4, l2=[0, 0.1, 0, 0.1]))
    assert found.recommended == 0.1 and found.settings == {"l2": 0.1}
    assert [rate.mean for rate in found.rates] == [-0.2, -3]
    with pytest.raises(ConfigError, match=r"^verdict: there are learning rates to choose from; got settings l2"):
        runs = table([0.1], [-1], [0.1], l2=[0])
        jaxnn.verdict(replace(runs, settings={"l2": runs.settings["l2"]}))


def test_an_ensemble_says_the_average():
    runs = flowers()
    together, params = jaxnn.ensemble(runs)
    assert params[0].kernel.shape == (6, 3, 4)  # without those that diverged
    members = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(6)]
    p = np.mean([jaxnn.predict_proba(OBJECTIVE, w, HOLD_OUT) for w in members], axis=0)
    np.testing.assert_allclose(jaxnn.predict_proba(together, params, HOLD_OUT), p, rtol=1e-5)
    np.testing.assert_array_equal(jaxnn.predict(together, params, HOLD_OUT), p.argmax(1))
    found = jaxnn.evaluate(together, params, HOLD_OUT)
    np.testing.assert_allclose(found.log_likelihood, np.log(p[np.arange(10), HOLD_OUT.y]).mean(), rtol=1e-5)
    mean = np.mean([jaxnn.evaluate(OBJECTIVE, w, HOLD_OUT).log_likelihood for w in members])
    assert found.log_likelihood >= mean  # Jensen
    single, one = jaxnn.ensemble(runs, [4])
    np.testing.assert_allclose(
        jaxnn.evaluate(single, one, HOLD_OUT).log_likelihood,
        jaxnn.evaluate(OBJECTIVE, runs[4].params, HOLD_OUT).log_likelihood,
        rtol=1e-6,
    )


def test_an_ensemble_of_one_decides_as_its_member():
    objective = jaxnn.LogLikelihood(jaxnn.Linear(3, 1), jaxnn.bernoulli)
    batch = jaxnn.Batch(TRAIN.x, TRAIN.y % 2)
    runs = jaxnn.sweep(objective, optax.sgd, batch, grid={"learning_rate": [0.0]}, plan=PLAN, max_epochs=1)
    together, params = jaxnn.ensemble(runs)
    want = jaxnn.predict(objective, runs[0].params, batch)  # an activation of 0 decides for 1
    np.testing.assert_array_equal(jaxnn.predict(together, params, batch), want)
    assert want.all()


def test_numbers_of_numpy_and_jax_are_numbers():
    grid = {"learning_rate": jnp.float32(0.5), "seed": jnp.arange(2), "order": np.array(1)}
    runs = jaxnn.sweep(OBJECTIVE, optax.sgd, TRAIN, HOLD_OUT, grid=grid, plan=PLAN, max_epochs=1)
    assert runs.where(learning_rate=0.5, seed=1).tolist() == [1] and runs[0].settings["order"] == 1
    listed = [{"learning_rate": np.float64(0.5), "seed": np.int64(1)}]
    assert jaxnn.sweep(OBJECTIVE, optax.sgd, TRAIN, grid=listed, plan=PLAN, max_epochs=1)[0].settings["seed"] == 1


def test_an_ensemble_of_regressions_averages_means():
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((3, 2)), jaxnn.gaussian)
    batch = jaxnn.Batch(TRAIN.x, np.asarray(TRAIN.x[:, :2] @ [[1, 2], [0, 1]], np.float32))
    runs = jaxnn.sweep(objective, optax.sgd, batch, grid={"learning_rate": [0.01, 0.1]}, plan=PLAN, max_epochs=3)
    together, params = jaxnn.ensemble(runs)
    want = np.mean([jaxnn.predict(objective, runs[i].params, batch) for i in range(2)], axis=0)
    np.testing.assert_allclose(jaxnn.predict(together, params, batch), want, rtol=1e-5)
    assert runs.monitor == "training" and np.isnan(runs.accuracy).all()


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        (
            {"grid": {"learning_rate": []}},
            ConfigError,
            r"^sweep: a setting has values; got learning_rate=\[\]; give it",
        ),
        ({"grid": {}}, ConfigError, r"^sweep: a grid has a setting, and values for it; got grid=\{\}; add one$"),
        ({"grid": []}, ConfigError, r"^sweep: a grid has a setting"),
        (
            {"grid": 0.1},
            ConfigError,
            r"^sweep: grid is a dictionary of values, or a list of dictionaries; got grid=0\.1",
        ),
        ({"grid": {"learning_rate": "0.1"}}, ConfigError, r"values of a setting are numbers; got learning_rate='0\.1'"),
        (
            {"grid": {"learning_rate": [0.1, np.nan]}},
            ConfigError,
            r"^sweep: learning_rate is a finite number >= 0; got",
        ),
        (
            {"grid": {"learning_rate": [-0.1]}},
            ConfigError,
            r"^sweep: learning_rate is a finite number >= 0; got .*-0\.1",
        ),
        ({"grid": {"learning_rate": [0.1], "seed": [1.5]}}, ConfigError, r"^sweep: seed is a whole number >= 0; got"),
        ({"grid": {"learning_rate": [0.1], "seed": [2**32]}}, ConfigError, r"^sweep: seed is at most 4,294,967,295"),
        ({"grid": {"learning_rate": [0.1], "l2": [-1]}}, ConfigError, r"^sweep: l2 is a finite number >= 0; got l2=-1"),
        (
            {"grid": {"learning_rate": [0.1], "rate": [1]}},
            ConfigError,
            r"got a grid with 'rate'; (choose one of|did you)",
        ),
        (
            {"grid": {"learning_rate": [0.1], "beta1": [1]}},
            ConfigError,
            r"or an option of the optimizer; got a grid with",
        ),
        ({"grid": {"learning_rate": [0.1], "nesterov": [1]}}, ConfigError, r"option of the optimizer; got a grid with"),
        ({"grid": {"learning_rate": [0.1], "max_norm": [1]}}, ConfigError, r"max_norm is that of clipping; got a grid"),
        ({"grid": {"learning_rate": [0.1], "fold": [0]}}, ConfigError, r"a fold is one of several; got a grid"),
        (
            {"grid": {"seed": [1, 2]}},
            ConfigError,
            r"^sweep: a factory needs a rate; got a grid of seed with optimizer=adam",
        ),
        (
            {"optimizer": optax.adam(0.1)},
            ConfigError,
            r"^sweep: a rate is data where a factory is given; got a grid with",
        ),
        (
            {"grid": [{"learning_rate": 0.1}, {"learning_rate": 0.1, "seed": 1}]},
            ConfigError,
            r"^sweep: all runs of a list have the same settings; got \['learning_rate', 'seed'\] for run 1",
        ),
        (
            {"grid": {"learning_rate": range(2000), "seed": range(2000)}},
            ConfigError,
            r"at most 1,048,576 runs; got 4,000,000",
        ),
        (
            {"folds": 5},
            ConfigError,
            r"^sweep: folds are weights of the examples; got folds=5; pass jaxnn\.data\.k_fold",
        ),
        (
            {"folds": data.k_fold(TRAIN, 3)},
            ConfigError,
            r"^sweep: each fold has a hold-out of its own; got hold_out and",
        ),
        (
            {"folds": data.k_fold(HOLD_OUT, 3), "hold_out": None},
            ShapeError,
            r"^sweep: folds have one weight an example; got folds of shape \(3, 10\), N=20",
        ),
        (
            {"grid": {"learning_rate": [0.1], "fold": [3]}, "folds": data.k_fold(TRAIN, 3), "hold_out": None},
            ConfigError,
            r"^sweep: fold is at most 2; got fold=3",
        ),
        (
            {"params": MODEL.init(0)},
            ConfigError,
            r"^sweep: with a seed in the grid, params is a function of it; got tuple",
        ),
        (
            {"objective": jaxnn.from_function(lambda w, x, y: jnp.sum(w)), "params": None},
            ConfigError,
            r"^sweep: somebody has",
        ),
        ({"memory": 1000}, MemoryBudgetError, r"^sweep: one run fits in memory; got memory=1,000 bytes where it takes"),
        ({"memory": 0}, ConfigError, r"^sweep: memory is a whole number >= 1; got memory=0"),
        ({"max_epochs": -1}, ConfigError, r"^sweep: max_epochs is a whole number >= 0"),
        ({"hold_out": None, "monitor": "loss"}, ConfigError, r"^sweep: monitor is one of log_likelihood, accuracy"),
        ({"progress": 3}, ConfigError, r"^sweep: progress is True, False, None or a function; got progress=3"),
        ({"optimizer": 3}, ConfigError, r"^sweep: optimizer is an optax transformation or a factory"),
        (
            {"optimizer": lambda learning_rate: 3},
            ConfigError,
            r"^sweep: an optimizer factory takes learning_rate and",
        ),
        ({"objective": len}, ConfigError, r"^sweep: objective is a log likelihood; got"),
        ({"train": TRAIN.x}, ConfigError, r"^sweep: data is a Dataset or a Batch; got ndarray"),
    ],
)
def test_what_means_nothing_is_refused_before_anything_is_compiled(wrong_types, more, error, message):
    it = {
        "objective": OBJECTIVE, "optimizer": optax.adam, "train": TRAIN, "hold_out": HOLD_OUT,
        "grid": {"learning_rate": [0.1], "seed": [0, 1]},
    } | more  # fmt: skip
    with jax_log() as log, pytest.raises(error, match=message):
        jaxnn.sweep(it.pop("objective"), it.pop("optimizer"), it.pop("train"), it.pop("hold_out"), plan=PLAN, **it)
    assert log.compiled("advance_lanes") == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.k_fold(TRAIN, 1), r"^data\.k_fold: k is a whole number >= 2; got k=1"),
        (lambda: data.k_fold(TRAIN, 21), r"^data\.k_fold: k is at most 20; got k=21"),
        (lambda: data.bootstrap(TRAIN, 0), r"^data\.bootstrap: count is a whole number >= 1; got count=0"),
        (
            lambda: data.bootstrap(jaxnn.Batch(TRAIN.x[:1], TRAIN.y[:1]), 1),
            r"examples on both sides; got none for hold_out",
        ),
        (lambda: flowers().where(rate=1), r"^Runs\.where: a setting is one of learning_rate, seed; got rate=1"),
        (lambda: flowers()[9], r"^Runs: index is at most 8; got index=9"),
        (lambda: jaxnn.ensemble(flowers(), []), r"^ensemble: there are members; got which=\[\]"),
        (lambda: jaxnn.ensemble(flowers(), [9]), r"^ensemble: indices lie in \[0, 9\); got \[9\]"),
        (lambda: jaxnn.ensemble(3), r"^ensemble: runs are those of a sweep; got int"),
    ],
)
def test_the_rest_is_refused_too(wrong_types, call, message):
    with pytest.raises(ConfigError, match=message):
        call()


# ------------------------------------------------------------------------------------------------------ the range test


def test_the_range_test_is_a_loop_of_steps_whose_rate_grows(x64):
    params, train = of_seed(0), in_double(TRAIN)
    seen = jaxnn.learning_rate_range(OBJECTIVE, optax.adam, params, train, num_steps=10, plan=PLAN, key=3)
    state = jaxnn.init_state(OBJECTIVE, optax.adam, params, 3, learning_rate=1e-5)
    np.testing.assert_allclose(seen.learning_rate, 1e-5 * 10 ** (6 * np.arange(10) / 9))
    for t, rate in enumerate(seen.learning_rate):
        indices, weight = PLAN.indices(jax.random.key(3), t // 3, t % 3, 20)
        batch = jaxnn.Batch(train.x[indices], train.y[indices], weight)
        state, info = jaxnn.ascent_step(OBJECTIVE, optax.adam, state._replace(learning_rate=jnp.asarray(rate)), batch)
        np.testing.assert_allclose(seen.log_likelihood[t], info.log_likelihood, rtol=1e-10)


def test_a_batch_without_weight_is_no_step_of_the_range_test():
    seen = jaxnn.learning_rate_range(
        OBJECTIVE, optax.sgd, MODEL.init(0), HALF, num_steps=100, plan=jaxnn.MiniBatch(1), largest=1.0
    )
    assert 20 < len(seen.learning_rate) < 80 and np.isfinite(seen.smoothed).all()


@functools.cache
def quadratic(lower=0.0):
    """The range test of a least-squares line whose ascent diverges above the rate 2 / L."""
    x = np.linspace(-2, 2, 32)[:, None].astype(np.float32)
    objective = jaxnn.from_function(lambda w, x, y: -0.5 * jnp.sum((w * x - y) ** 2) - lower)
    batch = jaxnn.Batch(x, 3 * x[:, 0] + np.float32(np.random.default_rng(0).normal(size=32)))
    return jaxnn.learning_rate_range(
        objective, optax.sgd, jnp.zeros(1), batch, smallest=1e-4, largest=1e2, num_steps=300, plan=jaxnn.FullBatch()
    )


def test_the_edge_is_where_ascent_on_a_quadratic_diverges():
    curvature = float(np.mean(np.linspace(-2, 2, 32) ** 2))
    seen = quadratic()
    assert 1 < seen.edge / (2 / curvature) < 4  # from the rounding of the optimum it takes some steps to be seen
    assert seen.steepest < 1 / curvature and seen.smoothed[0] < np.nanmax(seen.smoothed)


def test_a_constant_in_the_log_likelihood_changes_nothing():
    lower, seen = quadratic(1000.0), quadratic()
    np.testing.assert_allclose(lower.log_likelihood[:50] + 1000, seen.log_likelihood[:50], atol=1e-3)
    np.testing.assert_allclose([lower.edge, lower.steepest], [seen.edge, seen.steepest], rtol=0.1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"num_steps": 9}, r"^learning_rate_range: num_steps is a whole number >= 10; got num_steps=9"),
        ({"smallest": 0}, r"^learning_rate_range: smallest is a finite number > 0"),
        ({"smallest": 1.0, "largest": 1.0}, r"^learning_rate_range: rates grow; got smallest=1\.0, largest=1\.0"),
        ({"optimizer": optax.sgd(0.1)}, r"^learning_rate_range: the rate is that of the test; got optimizer="),
    ],
)
def test_a_range_that_means_nothing_is_refused(wrong_types, more, message):
    it = {"optimizer": optax.sgd} | more
    with pytest.raises(ConfigError, match=message):
        jaxnn.learning_rate_range(OBJECTIVE, it.pop("optimizer"), MODEL.init(0), TRAIN, **it)
