"""Which learning rate to take, and why: mean and spread over seeds, what diverged, and the size of the updates."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxnn._errors import ConfigError
from jaxnn._state import Status
from jaxnn._sweep._runs import Runs

RULE_OF_THUMB = (1e-3, 1e-2)  # |update| / |w| of a good rate, as it is often said


class RateVerdict(NamedTuple):
    """What the runs of one learning rate reached.

    Attributes:
      learning_rate: the rate.
      runs: how many there were.
      diverged: how many of them diverged.
      judged: how many did not, and have a value: what follows is of these.
      mean: of what was monitored; NaN without any.
      spread: its standard deviation (divided by n - 1); 0 for one run.
      update_ratio: their median |update| / |w|.
    """

    learning_rate: float
    runs: int
    diverged: int
    judged: int
    mean: float
    spread: float
    update_ratio: float

    @property
    def standard_error(self) -> float:
        """Of the mean, as if the runs were independent; those that share a fold or a seed are not quite."""
        return self.spread / max(1, self.judged) ** 0.5


@dataclass(frozen=True)
class Verdict:
    """The rates of a sweep, smallest first, and the one to take; print it.

    Attributes:
      rates: a `RateVerdict` each.
      recommended: the rate to take.
      settings: the other settings that it goes with.
      why: a sentence or two.
      monitor: what was monitored.
    """

    rates: list[RateVerdict]
    recommended: float
    settings: dict[str, Any]
    why: str
    monitor: str

    def __str__(self) -> str:
        head = ("learning rate", "runs", "diverged", "mean", "spread", "update / w", "")
        lines = []
        for rate in self.rates:
            low, high = RULE_OF_THUMB
            inside = "0.1 to 1 %" if low <= rate.update_ratio <= high else ""
            chosen = "<- take this" if rate.learning_rate == self.recommended else inside
            ratio = f"{rate.update_ratio:.2%}" if np.isfinite(rate.update_ratio) else "-"
            figures = (f"{rate.mean:.4f}", f"{rate.spread:.4f}", ratio) if rate.judged else ("-", "-", "-")
            lines.append((f"{rate.learning_rate:.3g}", str(rate.runs), str(rate.diverged), *figures, chosen))
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        table = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *lines)]
        return "\n".join([*table, self.why])


def verdict(runs: Runs) -> Verdict:
    """Return which learning rate to take, and why.

    The mean is taken over seeds, orders and folds. Of all combinations of the other settings the one with the best mean
    is recommended among those in which the smallest share of runs diverged; its rate is compared with the other rates
    of the same other settings.

    Raises:
      ConfigError: the sweep had no learning rates, or no run has a value.

    Example:
      >>> import jaxnn, optax
      >>> train, hold_out = jaxnn.data.split(jaxnn.data.load("iris"), (0.7, 0.3))
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(4, 3), jaxnn.categorical)
      >>> grid = {"learning_rate": [0.001, 0.1], "order": range(4)}
      >>> jaxnn.verdict(jaxnn.sweep(objective, optax.sgd, train, hold_out, grid=grid, max_epochs=10)).recommended
      0.1
    """
    if "learning_rate" not in runs.settings:
        raise ConfigError(
            f"verdict: there are learning rates to choose from; got settings {', '.join(runs.settings)}; put "
            "learning_rate in the grid"
        )
    over = ("seed", "order", "fold")
    names = [name for name in runs.settings if name not in over]
    keys = list(zip(*(runs.settings[name].tolist() for name in names), strict=True))
    rate_at = names.index("learning_rate")
    groups = {key: _of_group(runs, np.asarray([k == key for k in keys]), key[rate_at]) for key in dict.fromkeys(keys)}
    judged = [key for key, group in groups.items() if group.judged]
    if not judged:
        diverged, interrupted = (int(np.sum(runs.status == s)) for s in (Status.DIVERGED, Status.INTERRUPTED))
        raise ConfigError(
            f"verdict: some run has a value; got none of {len(runs)}, {diverged} diverged, {interrupted} interrupted; "
            "try smaller rates"
        )
    best = max(judged, key=lambda key: (-groups[key].diverged / groups[key].runs, groups[key].mean))
    others = {name: value for name, value in zip(names, best, strict=True) if name != "learning_rate"}
    rates = sorted(
        group for key, group in groups.items()
        if {n: v for n, v in zip(names, key, strict=True) if n != "learning_rate"} == others
    )  # fmt: skip
    chosen = groups[best]
    why = _why(rates, chosen, runs.monitor)
    if interrupted := int(np.sum(runs.status == Status.INTERRUPTED)):
        why += f" {interrupted} of {len(runs)} runs were interrupted: judge with care."
    return Verdict(rates, chosen.learning_rate, others, why, runs.monitor)


def _of_group(runs: Runs, which: np.ndarray, rate: float) -> RateVerdict:
    diverged = which & (runs.status == Status.DIVERGED)
    judged = which & runs.ended_well
    value, ratio = (column[judged].astype(np.float64) for column in (runs.value, runs.update_ratio))
    ratio = ratio[np.isfinite(ratio)]
    mean = float(np.mean(value)) if len(value) else float("nan")
    spread = float(np.std(value, ddof=1)) if len(value) > 1 else 0.0
    ratio = float(np.median(ratio)) if len(ratio) else float("nan")
    return RateVerdict(rate, int(which.sum()), int(diverged.sum()), len(value), mean, spread, ratio)


def _why(rates: list[RateVerdict], chosen: RateVerdict, monitor: str) -> str:
    """Return the reasons, and how sure they are."""
    what = {"training": "log likelihood of the training data", "accuracy": "hold-out accuracy"}.get(
        monitor, "hold-out log likelihood"
    )
    passed_over = [
        rate for rate in rates if rate.diverged / rate.runs > chosen.diverged / chosen.runs and rate.mean > chosen.mean
    ]
    among = " of the rates at which fewest runs diverge" if passed_over else ""
    why = f"{chosen.learning_rate:.3g} has the best mean {what}{among}, {chosen.mean:.4f}"
    many = chosen.judged > 1
    why += f" ± {chosen.spread:.4f} over {chosen.judged} runs." if many else " in one run: more seeds tell how sure."
    near = [
        f"{rate.learning_rate:.3g}" for rate in rates
        if rate is not chosen and many and 0 <= chosen.mean - rate.mean <= chosen.standard_error
    ]  # fmt: skip
    if near:
        why += f" Within a standard error of it: {', '.join(near)}."
    broken = [f"{rate.learning_rate:.3g}" for rate in rates if rate.diverged]
    if broken:
        why += f" Runs diverge at {', '.join(broken)}."
    low, high = RULE_OF_THUMB
    side = "below" if chosen.update_ratio < low else "above" if chosen.update_ratio > high else "within"
    if np.isfinite(chosen.update_ratio):
        why += f" Its updates are {chosen.update_ratio:.2%} of w, {side} the 0.1 to 1 % of the rule of thumb."
    if len(rates) > 1 and chosen in (rates[0], rates[-1]):
        why += f" It is the {'smallest' if chosen is rates[0] else 'largest'} rate tried: try beyond it."
    return why
