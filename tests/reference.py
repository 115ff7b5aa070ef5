"""NumPy loops in float64 to compare with, written from the equations; nothing here imports jaxnn or JAX."""

import math

import numpy as np


def gradient(params, x, y, kind):
    """Return ∇ log P(y | x; w) of one example as [(kernel, bias), ...]: tanh layers under a softmax or a sigmoid."""
    inputs = [x]
    for kernel, bias in params[:-1]:
        inputs.append(np.tanh(inputs[-1] @ kernel + bias))
    kernel, bias = params[-1]
    z = inputs[-1] @ kernel + bias
    if kind == "categorical":
        e = np.exp(z - z.max())
        delta = -e / e.sum()
        delta[y] += 1
    else:
        delta = y - 1 / (1 + np.exp(-z))
    grads = []
    for a, (kernel, _) in zip(reversed(inputs), reversed(params), strict=True):
        grads.append((np.outer(a, delta), delta))
        delta = (kernel @ delta) * (1 - a**2)
    return grads[::-1]


def ascend(params, x, y, batches, alpha, kind):
    """Return w after w <- w + alpha * sum_{i in J} grad log P(y_i | x_i; w) for each J in batches."""
    params = [(np.array(kernel, np.float64), np.array(bias, np.float64)) for kernel, bias in params]
    for indices in batches:
        total = [(np.zeros_like(kernel), np.zeros_like(bias)) for kernel, bias in params]
        for i in indices:
            for (sum_k, sum_b), (g_k, g_b) in zip(total, gradient(params, x[i], y[i], kind), strict=True):
                sum_k += g_k
                sum_b += g_b
        params = [(k + alpha * g_k, b + alpha * g_b) for (k, b), (g_k, g_b) in zip(params, total, strict=True)]
    return params


def early_stopping(values, patience, min_delta):
    """Return (epochs run, best epoch): row 0 of values is before the first epoch; NaN is never a gain."""
    values = [-math.inf if math.isnan(v) else v for v in values]
    best, best_epoch, misses = values[0], 0, 0
    for epoch, value in enumerate(values[1:], start=1):
        misses = 0 if value > best and value > np.float32(best) + np.float32(min_delta) else misses + 1
        if value > best:
            best, best_epoch = value, epoch
        if misses >= patience:
            return epoch, best_epoch
    return len(values) - 1, best_epoch


def calibration_error(proba, y, weight, bins=15):
    """Return the expected calibration error: 15 equal bins (lo, hi] of the top class's probability."""
    confidence, right = proba.max(1), proba.argmax(1) == y
    error = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if weight[inside].sum() > 0:
            gap = np.average(confidence[inside], weights=weight[inside]) - np.average(
                right[inside], weights=weight[inside]
            )
            error += weight[inside].sum() / weight.sum() * abs(gap)
    return error
