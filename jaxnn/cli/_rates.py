"""The learning rates of a sweep from what was typed: numbers, and ranges with equal factors in between."""

from collections.abc import Sequence

import numpy as np

from jaxnn._errors import ConfigError

WHO = "sweep"
FAR, COUNT = 100.0, 16  # without any: from 1/100 to 100 times the usual one


def rates_of(texts: Sequence[str], usual: float) -> list[float]:
    """Return the rates, smallest first, none twice; raise `ConfigError` for text that names none."""
    if not texts:
        return [float(f"{rate:.3g}") for rate in np.geomspace(usual / FAR, usual * FAR, COUNT)]
    return sorted({rate for text in texts for rate in _read(text)})


def _read(text: str) -> list[float]:
    try:
        first, *rest = text.split(":")
        if not rest:
            rates = [float(first)]
        else:
            last, count = rest
            low, high, number = float(first), float(last), int(count)
            if not (0 < low < np.inf and 0 < high < np.inf and 1 <= number <= 10_000):
                raise ValueError
            rates = [float(f"{rate:.3g}") for rate in np.geomspace(low, high, number)] if low != high else [low]
        if not all(0 <= rate < np.inf for rate in rates):
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{WHO}: learning rates are numbers >= 0, or FIRST:LAST:COUNT with FIRST and LAST above 0; got "
            f"--learning-rates {text}; write 0.001:1:16, say"
        ) from None
    return rates
