"""Pictures: what is drawn equals what was measured, says its units, and leaves matplotlib as it was."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn import plotting, search
from jaxnn._evaluate import Evaluation
from jaxnn._state import WATCHED

pytestmark = pytest.mark.usefixtures("nothing_global_changes")

EPOCHS = np.arange(6)
HISTORY = jaxnn.History(
    epoch=EPOCHS,
    log_likelihood=np.array([-2.3, -0.6, -0.4, -0.3, -0.2, -0.1]),
    hold_out_log_likelihood=np.array([-2.4, -0.7, -0.5, -0.4, -0.45, -0.5]),
    hold_out_accuracy=np.array([0.1, 0.7, 0.8, 0.9, 0.9, 0.85]),
    gradient_norm=np.full(6, 1.0),
    update_ratio=np.array([np.nan, 5e-2, 4e-3, 3e-3, 2e-3, 1e-3]),
    learning_rate=np.full(6, 0.1),
    **dict.fromkeys(WATCHED, np.full(6, np.nan)),
    seconds=np.arange(6.0),
)
COUNTS = np.array([[8.0, 2.0], [1.0, 9.0]])
BINS = np.zeros((15, 3))
BINS[9] = 5, 5 * 0.65, 2  # weight, confidence, correct
BINS[14] = 15, 15 * 0.99, 15
CLASSES = Evaluation(20, 20.0, -5.0, 17.0, 4.0, COUNTS, BINS)
TARGETS = Evaluation(20, 20.0, -5.0, float("nan"), 4.0, None, None)


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_learning_curves_draw_the_history():
    top, accuracy, update = plotting.learning_curves(HISTORY, best_epoch=3).axes
    drawn = lines(top)
    np.testing.assert_array_equal(
        drawn["training (mean over the epoch)"].get_xydata().T, [EPOCHS, HISTORY.log_likelihood]
    )
    np.testing.assert_array_equal(drawn["hold-out"].get_ydata(), HISTORY.hold_out_log_likelihood)
    np.testing.assert_array_equal(accuracy.get_lines()[0].get_ydata(), HISTORY.hold_out_accuracy)
    np.testing.assert_array_equal(update.get_lines()[0].get_ydata(), HISTORY.update_ratio)
    assert top.get_ylabel() == "log likelihood\n(nats per example)"
    assert (accuracy.get_ylabel(), update.get_xlabel()) == ("hold-out\naccuracy", "epoch")
    assert update.get_yscale() == "log"
    (band,) = update.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((1e-3, 1e-2))


def test_learning_curves_mark_the_best_and_the_last_epoch_in_every_panel():
    figure = plotting.learning_curves(HISTORY, best_epoch=3)
    for ax in figure.axes:
        assert lines(ax)["returned: epoch 3"].get_xdata() == [3, 3]
        assert lines(ax)["last: epoch 5"].get_xdata() == [5, 5]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["training (mean over the epoch)", "hold-out", "returned: epoch 3", "last: epoch 5"]


def test_learning_curves_show_the_end_and_say_where_they_start():
    long = jaxnn.History(*(np.concatenate([column, np.repeat(column[-1:], 50)]) for column in HISTORY))
    long = long._replace(epoch=np.arange(56))
    top = plotting.learning_curves(long, best_epoch=3).axes[0]
    low, high = top.get_ylim()
    assert low > -2.3 and low < -0.5 and high > -0.1  # the start is cut off, the end is not
    assert [text.get_text() for text in top.texts] == ["starts at -2.4"]


@pytest.mark.parametrize("best_epoch", [None, -1, 99])
def test_learning_curves_without_a_hold_out_have_no_accuracy_and_no_mark(best_epoch):
    nan = np.full(6, np.nan)
    bare = HISTORY._replace(hold_out_log_likelihood=nan, hold_out_accuracy=nan)
    top, _update = plotting.learning_curves(bare, best_epoch).axes
    assert list(lines(top)) == ["training (mean over the epoch)", "last: epoch 5"]


def test_learning_curves_leave_out_rows_never_reached_and_survive_infinities():
    padded = HISTORY._replace(
        epoch=np.array([0, 1, 2, -1, -1, -1]), log_likelihood=np.array([-2.3, -np.inf, np.nan, np.nan, np.nan, np.nan])
    )
    figure = plotting.learning_curves(padded, best_epoch=0)
    assert figure.axes[0].get_lines()[0].get_xdata().tolist() == [0, 1, 2]
    figure.canvas.draw()


def test_learning_curves_of_no_epoch_and_of_one_can_be_drawn():
    for rows in (slice(0, 0), slice(0, 1)):
        figure = plotting.learning_curves(jaxnn.History(*(column[rows] for column in HISTORY)), 0)
        figure.canvas.draw()
        assert figure.axes  # nothing raised, and there is a panel to look at


def test_confusion_prints_every_count_in_its_cell():
    ax = plotting.confusion(CLASSES, ["cat", "dog"]).axes[0]
    cells = {text.get_position(): text.get_text() for text in ax.texts}
    assert cells == {(0, 0): "8", (1, 0): "2", (0, 1): "1", (1, 1): "9"}  # (predicted, true)
    np.testing.assert_allclose(ax.images[0].get_array(), np.sqrt(COUNTS / COUNTS.sum(1, keepdims=True)))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert ax.get_title() == "accuracy 0.8500: 3 of 20 wrong"


def test_confusion_without_names_numbers_the_classes_and_allows_an_absent_class():
    absent = dataclasses.replace(CLASSES, confusion=np.diag([3.0, 0.0, 17.0]))
    ax = plotting.confusion(absent).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]
    assert np.isfinite(ax.images[0].get_array()).all()


def test_reliability_draws_accuracy_against_confidence_with_counts():
    top, bottom = plotting.reliability(CLASSES).axes
    heights = {round(bar.get_x(), 3): bar.get_height() for bar in top.patches}
    assert heights == pytest.approx({0.6: 0.4, 0.933: 1.0})  # 9/15 and 14/15 are the left edges
    np.testing.assert_allclose(lines(top)["at its mean confidence"].get_xydata(), [[0.65, 0.4], [0.99, 1.0]])
    assert [bar.get_height() for bar in bottom.patches] == [5, 15]
    assert [text.get_text() for text in bottom.texts] == ["5", "15"]
    assert top.get_title() == f"expected calibration error {CLASSES.calibration_error:.4f}"
    assert (top.get_ylabel(), bottom.get_ylabel()) == ("accuracy", "examples")
    assert lines(top)["perfectly calibrated"].get_xydata().tolist() == [[0, 0], [1, 1]]


def plane(num_classes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)) * [3.0, 0.5] + [10.0, -2.0]
    y = np.arange(60) % num_classes
    return jaxnn.data.dataset(x, y, num_classes=num_classes, feature_names=("length (cm)", "mass (g)"))


def test_decision_boundary_is_the_line_at_one_half_in_raw_units():
    (ds,) = jaxnn.data.standardise(plane(2))
    objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 1), jaxnn.bernoulli)
    w, b = np.array([1.5, -1.0]), 0.2
    params = jnp.asarray(w[:, None], jnp.float32), jnp.asarray([b], jnp.float32)
    params = type(objective.model.init(0)[0])(*params)
    figure = plotting.decision_boundary(objective, (params,), ds)
    ax = figure.axes[0]
    _shades, line, *points = ax.collections
    vertices = np.concatenate([path.vertices for path in line.get_paths()])
    standardised = (vertices - ds.schema.mean) / np.array(ds.schema.scale)
    np.testing.assert_allclose(standardised @ w + b, 0, atol=0.05)  # a grid of 200 x 200
    raw = np.asarray(ds.batch.x) * ds.schema.scale + ds.schema.mean
    for k, drawn in enumerate(points):
        np.testing.assert_allclose(drawn.get_offsets(), raw[np.asarray(ds.batch.y) == k], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("length (cm)", "mass (g)")
    assert figure.axes[1].get_ylabel() == "P(y=1 | x), line at 1/2"


def test_decision_boundary_of_three_classes_has_a_marker_for_each():
    ds = plane(3)
    objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 3), jaxnn.categorical)
    figure = plotting.decision_boundary(objective, objective.model.init(0), ds)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["class 0", "class 1", "class 2"]
    assert figure.axes[1].get_ylabel() == "largest P(y | x)"
    figure.canvas.draw()


def valley(w):
    return -0.5 * (w["a"] ** 2 + 10 * w["b"][0] ** 2)


def climbed(rate, num_steps=6, g=valley, **options):
    start = {"a": jnp.float32(4), "b": jnp.ones(1)}
    return search.gradient_ascent(g, start, optax.sgd, learning_rate=rate, num_steps=num_steps, **options)


def test_an_ascent_path_lies_on_the_contours_of_its_function():
    result = climbed(0.05)
    figure = plotting.ascent_path(valley, result)
    ax = figure.axes[0]
    path = np.stack([result.path["a"], result.path["b"][:, 0]], axis=1)
    line, start, end = ax.get_lines()
    np.testing.assert_allclose(line.get_xydata(), path, rtol=1e-6)
    np.testing.assert_allclose(start.get_xydata(), path[:1])
    np.testing.assert_allclose(end.get_xydata(), path[-1:], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a", "b[0]")
    assert line.get_marker() == "o" and start.get_markerfacecolor() == "white" and end.get_marker() == "*"
    assert figure.axes[1].get_ylabel() == "g(w)"
    shades, lines = ax.collections
    for level, drawn in zip(lines.levels, lines.get_paths(), strict=True):
        a, b = drawn.vertices.T
        np.testing.assert_allclose(-0.5 * (a**2 + 10 * b**2), level, atol=0.02 * abs(lines.levels[0]))
    assert np.all(np.diff(shades.levels) > 0) and np.all(np.diff(shades.levels, 2) < 0)  # closer towards the top
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"6 steps to g = {result.value:.4g}"]
    figure.canvas.draw()


def test_several_ascent_paths_are_told_apart_in_grey_and_one_that_escapes_is_cut_off():
    rates = jnp.array([0.02, 0.1, 0.25])
    many = jax.vmap(lambda rate: climbed(rate, 70))(rates)
    figure = plotting.ascent_path(valley, many, [f"rate {rate:.2f} $x$" for rate in rates])
    ax = figure.axes[0]
    paths = [line for line in ax.get_lines() if line.get_label().startswith("rate")]
    assert len({line.get_linestyle() for line in paths}) == 3
    assert all(line.get_marker() == "" for line in paths)  # 70 marks would run into each other
    assert np.abs(paths[2].get_ydata()).max() > 1e9
    assert max(map(abs, ax.get_ylim())) < 10 and ax.get_xlim()[1] < 10
    figure.canvas.draw()
    one_by_one = plotting.ascent_path(valley, [climbed(rate, 70) for rate in rates])
    assert one_by_one.axes[0].get_xlim() == pytest.approx(ax.get_xlim(), rel=1e-3)


def test_an_ascent_path_of_one_number_lies_on_its_curve():
    result = search.hill_climb(jnp.sin, 0.0, step=0.5)
    ax = plotting.ascent_path(jnp.sin, result).axes[0]
    curve, line, *_ = ax.get_lines()
    np.testing.assert_allclose(curve.get_ydata(), np.sin(curve.get_xdata()), atol=1e-6)
    np.testing.assert_allclose(line.get_ydata(), np.sin(line.get_xdata()), atol=1e-6)
    np.testing.assert_array_equal(line.get_xdata(), result.path)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("w", "g(w)")
    assert line.get_label().endswith("(stopped early)")


def test_an_ascent_path_that_went_nowhere_or_over_a_cliff_can_be_drawn():
    flat = search.hill_climb(lambda w: 0 * jnp.sum(w), jnp.zeros(2))
    assert plotting.ascent_path(lambda w: 0 * jnp.sum(w), flat).axes[0].get_xlim()[0] < 0
    cliff = lambda w: jnp.log(w[0]) - w[0] - w[1] ** 2  # noqa: E731
    over = search.gradient_ascent(cliff, jnp.array([2.0, 1.0]), optax.sgd, learning_rate=5.0, num_steps=9)
    assert over.status == jaxnn.Status.DIVERGED
    for result in (flat, over, climbed(0.05, keep_path=False)):
        plotting.ascent_path(valley if isinstance(result.params, dict) else cliff, result).canvas.draw()


MISUSE = [
    (
        lambda: plotting.ascent_path(valley, [1]),
        "plotting.ascent_path: results are those of a search; got list; pass what gradient_ascent or hill_climb "
        "returned, or a list of that",
    ),
    (
        lambda: plotting.ascent_path(valley, climbed(0.05), ["a", "b"]),
        "plotting.ascent_path: one label a path; got 2 labels; pass 1",
    ),
    (
        lambda: plotting.ascent_path(jnp.sum, search.hill_climb(jnp.sum, np.zeros(3), max_evaluations=9)),
        "plotting.ascent_path: a path of one or two numbers can be drawn; got 3; draw values instead",
    ),
    (
        lambda: plotting.ascent_path(valley, [climbed(0.05), search.hill_climb(jnp.sum, 0.0, max_evaluations=9)]),
        "plotting.ascent_path: all paths are of the same numbers; got 2 and 1; draw one",
    ),
    (
        lambda: plotting.confusion(TARGETS),
        "plotting.confusion: classes are needed; got real targets; use learning_curves",
    ),
    (
        lambda: plotting.reliability(TARGETS),
        "plotting.reliability: classes are needed; got real targets; use learning_curves",
    ),
    (lambda: plotting.confusion(CLASSES, ["one"]), "plotting.confusion: one name a class; got 1 class_names; pass 2"),
    (
        lambda: plotting.decision_boundary(None, None, jaxnn.data.dataset(np.ones((3, 2)), np.ones(3))),
        "plotting.decision_boundary: data have two features and classes; "
        "got Dataset('data', 3 examples, 2 features, regression); pass such data",
    ),
]


@pytest.mark.parametrize("call, text", MISUSE)
def test_misuse_is_refused(call, text):
    with pytest.raises(jaxnn.ConfigError) as error:
        call()
    assert str(error.value) == text


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(jaxnn.ConfigError, match="pip install 'jaxnn\\[plot\\]'"):
        plotting.reliability(CLASSES)
