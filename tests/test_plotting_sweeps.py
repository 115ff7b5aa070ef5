"""Pictures of a sweep: every run, mean and region is drawn where its figures say, also of odd sweeps."""

import dataclasses

import numpy as np
import pytest

import jaxnn
from jaxnn import plotting

pytestmark = pytest.mark.usefixtures("nothing_global_changes")

EPOCHS = 5
DIVERGED, ENDED = int(jaxnn.Status.DIVERGED), int(jaxnn.Status.MAX_EPOCHS)
RATES = (0.01, 0.1, 1.0, 10.0)
# Two seeds a rate: at 1.0 one of them diverged, at 10.0 both did.
VALUES = (-0.9, -0.7, -0.11, -0.13, -0.2, -1.0, -2.0, -2.1)
STATUS = (ENDED,) * 5 + (DIVERGED,) * 3
RATIOS = (1e-4, 2e-4, 2e-3, 3e-3, 2e-2, 5e-2, 0.5, np.nan)


def made(settings, values=VALUES, status=STATUS, ratios=RATIOS, **changed):
    """Return runs with these figures; the curve of each rises to its value, and ends early where it diverged."""
    value = np.asarray(values, float)
    start = np.full(len(value), -2.3)
    curves = start[:, None] + (value - start)[:, None] * np.linspace(0, 1, EPOCHS)
    epoch = np.tile(np.arange(EPOCHS), (len(value), 1))
    broken = np.asarray(status) == DIVERGED
    curves[broken, 3:], epoch[broken, 3:] = np.nan, -1
    nan = np.full_like(curves, np.nan)
    columns = dict.fromkeys(jaxnn.History._fields, nan) | {
        "epoch": epoch,
        "log_likelihood": curves - 0.05,
        "hold_out_log_likelihood": curves,
    }
    runs = jaxnn.Runs(
        settings={name: np.asarray(column) for name, column in settings.items()},
        params=(),
        status=np.asarray(status, np.int32),
        epochs=epoch.max(axis=1),
        best_epoch=epoch.max(axis=1),
        value=value,
        log_likelihood=value,
        accuracy=np.full(len(value), 0.5),
        update_ratio=np.asarray(ratios, float),
        history=jaxnn.History(**columns),
        objective=None,
        monitor="log_likelihood",
    )
    return dataclasses.replace(runs, **changed)


RUNS = made({"learning_rate": np.repeat(RATES, 2), "seed": [0, 1] * 4})


def labelled(ax, label):
    (found,) = [line for line in ax.get_lines() if line.get_label() == label]
    return found


def regions(ax):
    """Return label (without the mark of a second one), hatch, and where each region begins and ends."""
    return [(p.get_label().lstrip("_"), p.get_hatch(), p.get_x(), p.get_x() + p.get_width()) for p in ax.patches]


def test_every_run_stands_at_its_rate_and_value_and_those_that_diverged_are_crosses():
    top, bottom = plotting.sweep(RUNS).axes
    ended, broken = labelled(top, "one run"), labelled(top, "a run that diverged")
    assert (ended.get_marker(), broken.get_marker()) == ("o", "x")
    np.testing.assert_array_equal(ended.get_xydata(), [*zip(np.repeat(RATES, 2)[:5], VALUES[:5], strict=True)])
    np.testing.assert_array_equal(broken.get_xydata(), [*zip(np.repeat(RATES, 2)[5:], VALUES[5:], strict=True)])
    np.testing.assert_array_equal(labelled(bottom, "one run").get_ydata(), RATIOS[:5])
    np.testing.assert_array_equal(labelled(bottom, "a run that diverged").get_ydata(), RATIOS[5:7])  # one has none


def test_means_and_spreads_are_over_the_runs_that_ended_well():
    top, bottom = plotting.sweep(RUNS).axes
    line, _caps, (bars,) = top.containers[0].lines
    np.testing.assert_array_equal(line.get_xdata(), RATES)
    np.testing.assert_allclose(line.get_ydata(), [-0.8, -0.12, -0.2, np.nan])
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], -0.8 + np.std([-0.9, -0.7], ddof=1) * np.array([-1, 1]))
    np.testing.assert_allclose(bottom.get_lines()[-2].get_ydata(), [1.5e-4, 2.5e-3, 2e-2, np.nan])


def test_axes_say_what_they_show_and_the_recommended_rate_is_marked_in_both():
    figure = plotting.sweep(RUNS)
    top, bottom = figure.axes
    assert top.get_ylabel() == "hold-out log likelihood\n(nats per example)"
    assert (bottom.get_xlabel(), bottom.get_ylabel()) == ("learning rate", "|update| / |w|\n(shaded: 0.1 to 1 %)")
    assert top.get_xscale() == bottom.get_xscale() == bottom.get_yscale() == "log"
    for ax in (top, bottom):
        assert [line.get_xdata() for line in ax.get_lines() if line.get_linestyle() == "--"] == [[0.1, 0.1]]
    assert top.get_title() == "take 0.1"
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {
        "one run", "a run that diverged", "mean ± standard deviation", "some runs diverged", "all runs diverged",
    }  # fmt: skip
    band = bottom.patches[-1]
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((1e-3, 1e-2))


def test_rates_at_which_runs_diverged_are_hatched_half_way_to_their_neighbours():
    top, bottom = plotting.sweep(RUNS).axes
    some, all_did = regions(top)
    assert some[:2] == ("some runs diverged", "//") and all_did[:2] == ("all runs diverged", "////")
    assert some[2:] == pytest.approx((10**-0.5, 10**0.5)) and all_did[2] == pytest.approx(10**0.5)
    assert [region[1] for region in regions(bottom)] == ["//", "////", None]
    assert top.get_xlim()[1] == pytest.approx(all_did[3])


def test_rates_at_which_no_run_got_above_its_start_are_shaded():
    lost = np.where(np.repeat(RATES, 2) == 10, 0, 4)
    runs = dataclasses.replace(RUNS, status=np.full(8, ENDED), best_epoch=lost, epochs=np.full(8, 4))
    assert [region[:2] for region in regions(plotting.sweep(runs).axes[0])] == [("no run gained on its start", None)]
    broken = dataclasses.replace(RUNS, status=np.repeat([ENDED, DIVERGED], [2, 6]))
    labels = [patch.get_label() for patch in plotting.sweep(broken).axes[0].patches]
    assert labels == ["all runs diverged"] + ["_all runs diverged"] * 2  # one line in the legend


def test_values_far_apart_are_on_a_logarithmic_scale_and_close_ones_are_not():
    far = plotting.sweep(RUNS).axes[0]
    ticks = far.get_yticks()
    assert far.get_yscale() == "function" and {-0.1, -0.2, -0.5, -1.0, -2.0} <= {round(t, 6) for t in ticks}
    low, high = far.get_ylim()
    assert low < -2.1 and -0.11 < high < 0
    up = far.transData.transform([(1, v) for v in (-2.0, -1.0, -0.5)])[:, 1]
    assert up[1] - up[0] == pytest.approx(up[2] - up[1])  # equal factors, equal distances, upwards
    close = made(RUNS.settings, np.linspace(-0.5, -0.4, 8))
    assert plotting.sweep(close).axes[0].get_yscale() == "linear"
    accuracy = made(RUNS.settings, np.linspace(0.1, 0.9, 8), monitor="accuracy")
    top = plotting.sweep(accuracy).axes[0]
    assert (top.get_yscale(), top.get_ylabel()) == ("linear", "hold-out accuracy")
    assert plotting.sweep(dataclasses.replace(RUNS, monitor="training")).axes[0].get_ylabel().startswith("training log")


def test_of_other_settings_those_of_the_verdict_are_drawn_and_named():
    runs = made({"learning_rate": np.repeat(RATES, 2), "l2": [0.5, 0.25] * 4}, status=[ENDED] * 8)
    ax = plotting.sweep(runs).axes[0]
    np.testing.assert_array_equal(labelled(ax, "one run").get_ydata(), VALUES[::2])
    assert ax.get_title() == "take 0.1 (with l2 0.5)"


def test_learning_curves_of_all_runs_are_coloured_by_rate_dashed_where_they_diverged_and_thick_where_best():
    figure = plotting.sweep_curves(RUNS)
    ax, bar = figure.axes
    ended, broken = ax.collections
    for drawn, lanes, dashed in ((ended, range(5), False), (broken, range(5, 8), True)):
        assert (drawn.get_linestyles()[0][1] is not None) == dashed
        np.testing.assert_array_equal(drawn.get_array(), np.repeat(RATES, 2)[lanes])
        for segment, i in zip(drawn.get_segments(), lanes, strict=True):
            epochs = 3 if dashed else EPOCHS
            np.testing.assert_array_equal(segment[:, 0], np.arange(epochs))
            np.testing.assert_array_equal(segment[:, 1], RUNS.history.hold_out_log_likelihood[i, :epochs])
    best = labelled(ax, "best: learning_rate 0.1, seed 0")
    np.testing.assert_array_equal(best.get_ydata(), RUNS.history.hold_out_log_likelihood[2])
    assert best.get_linewidth() > 2 * ended.get_linewidths()[0]
    (crosses,) = [line for line in ax.get_lines() if line.get_marker() == "x"]
    np.testing.assert_array_equal(crosses.get_xdata(), [2, 2, 2])
    assert ax.get_ylabel() == "hold-out log likelihood\n(nats per example)" and ax.get_xlabel() == "epoch"
    assert bar.get_ylabel() == "learning rate" and bar.get_yscale() == "log"
    assert [tick.get_text() for tick in bar.get_yticklabels()] == ["0.01", "0.1", "1", "10"]


def test_without_a_hold_out_the_curves_are_those_of_the_training_data_and_without_rates_they_are_grey():
    none = np.full_like(RUNS.history.log_likelihood, np.nan)
    bare = made({"seed": range(8)}, history=RUNS.history._replace(hold_out_log_likelihood=none), monitor="training")
    figure = plotting.sweep_curves(bare)
    (ax,) = figure.axes  # and no colour bar
    assert ax.get_ylabel() == "training log likelihood\n(nats per example)"
    np.testing.assert_array_equal(ax.collections[0].get_segments()[0][:, 1], RUNS.history.log_likelihood[0])
    assert labelled(ax, "best: seed 2")


def test_curves_far_below_every_start_are_cut_off_and_that_is_said():
    values = np.array(RUNS.history.hold_out_log_likelihood)
    assert list(plotting.sweep_curves(RUNS).axes[0].texts) == []
    values[4, 2:] = -1e30
    low = dataclasses.replace(RUNS, history=RUNS.history._replace(hold_out_log_likelihood=values))
    ax = plotting.sweep_curves(low).axes[0]
    assert -3 < ax.get_ylim()[0] < -2.3
    assert [text.get_text() for text in ax.texts] == ["cut off below the lowest start"]


ODD = {
    "one rate": made({"learning_rate": [0.1] * 8, "seed": range(8)}),
    "one run": made({"learning_rate": [0.1]}, [-0.4], [ENDED], [0.01]),
    "all but one diverged": made(
        {"learning_rate": [0.1, 1, 1e30]}, VALUES[5:], [ENDED, DIVERGED, DIVERGED], [np.nan] * 3
    ),
    "a rate of zero": made({"learning_rate": [0.0, 0.1]}, [-0.4, -0.5], [ENDED] * 2, [0.0, 0.01]),
    "some never began": dataclasses.replace(
        RUNS, value=np.where(np.arange(8) < 3, VALUES, -np.inf), epochs=np.where(np.arange(8) < 3, 4, 0),
        best_epoch=np.where(np.arange(8) < 3, 4, -1), status=np.full(8, int(jaxnn.Status.INTERRUPTED)),
    ),
    "above zero": made({"learning_rate": np.repeat(RATES, 2)}, np.linspace(-3, 9, 8)),
    "all equal": made({"learning_rate": np.repeat(RATES, 2)}, [-0.0] * 8),
}  # fmt: skip


@pytest.mark.parametrize("runs", ODD.values(), ids=list(ODD))
@pytest.mark.filterwarnings("error")
def test_odd_sweeps_can_be_drawn(runs):
    for draw in (plotting.sweep, plotting.sweep_curves):
        figure = draw(runs)
        figure.canvas.draw()
        assert "log likelihood" in figure.axes[0].get_ylabel() and figure.axes[0].has_data()


def test_where_all_runs_diverged_there_are_curves_and_no_choice_of_a_rate():
    lost = dataclasses.replace(RUNS, status=np.full(8, DIVERGED))
    plotting.sweep_curves(lost).canvas.draw()
    with pytest.raises(jaxnn.ConfigError) as error:
        plotting.sweep(lost)
    assert str(error.value) == (
        "plotting.sweep: some run ends well; got none of 8; use sweep_curves, or try smaller rates"
    )


def test_what_is_no_sweep_of_rates_is_refused():
    with pytest.raises(jaxnn.ConfigError) as error:
        plotting.sweep(made({"seed": range(8)}))
    assert str(error.value) == (
        "plotting.sweep: there are learning rates along the axis; got settings seed; use sweep_curves, or put "
        "learning_rate in the grid"
    )
    for draw in (plotting.sweep, plotting.sweep_curves):
        with pytest.raises(jaxnn.ConfigError) as error:
            draw({})
        assert str(error.value) == (
            f"plotting.{draw.__name__}: runs are those of a sweep; got dict; call jaxnn.sweep first"
        )


@pytest.mark.parametrize("draw", [plotting.sweep, plotting.sweep_curves])
def test_without_matplotlib_the_error_says_what_to_install(draw, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(jaxnn.ConfigError, match="pip install 'jaxnn\\[plot\\]'"):
        draw(RUNS)
