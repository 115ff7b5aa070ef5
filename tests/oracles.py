"""Float64 NumPy and SciPy oracles. They import neither jaxnn nor jax, so a mistake cannot be made twice.

Parameters are a list of (kernel [in, out], bias [out]), examples are rows, letters are the library's. Each function is
its docstring's equation by the book: log-sum-exp is SciPy's, gradients are the chain rule written by hand, learning is
a Python loop over rows. The `*_scale` functions give S, the sum of absolute terms, for tolerances c * eps * S.
"""

import numpy as np
import scipy.special

ACTIVATIONS = {
    "sigmoid": (scipy.special.expit, lambda z: scipy.special.expit(z) * scipy.special.expit(-z)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(np.clip(z, -350, 350)) ** 2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "identity": (lambda z: z, np.ones_like),
}
SLOPES = {"sigmoid": (0.25, 0.1), "tanh": (1, 0.77), "relu": (1, 0), "identity": (1, 0)}  # max |g'|, max |g''|


def assert_close(got, want, scale, eps, c=16, what="values"):
    """|got - want| <= c eps S everywhere, shapes equal, a NaN never equal to anything.

    Nothing below the smallest normal number counts: XLA flushes it to zero.
    """
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    if not got.size:
        return
    tiny = np.finfo(np.float64 if eps < 1e-12 else np.float32).tiny
    scale = np.broadcast_to(np.asarray(scale, np.float64), got.shape)
    error, limit = np.abs(got - want), c * (eps * scale + tiny * (1 + scale))
    bad = ~(error <= limit)
    if bad.any():
        i = np.unravel_index(np.argmax(np.where(bad, error / np.maximum(limit, 1e-300), -1)), got.shape)
        raise AssertionError(
            f"{what}{list(map(int, i))}: got {got[i]!r}, want {want[i]!r}, |difference| > {limit[i]:.3g}"
        )


def float64(params):
    """The parameters as a list of (kernel, bias) in float64."""
    return [(np.asarray(kernel, np.float64), np.asarray(bias, np.float64)) for kernel, bias in params]


# ------------------------------------------------------------------------------------------------------------- models


def layers(params, x, activations=()):
    """(a_{l-1}, z_l) of every layer: a_0 = x, z_l = a_{l-1} W_l + b_l, a_l = g_l(z_l)."""
    a, out = np.asarray(x, np.float64), []
    for (kernel, bias), name in zip(float64(params), [*activations, "identity"], strict=True):
        z = a @ kernel + bias
        out.append((a, z))
        a = ACTIVATIONS[name][0](z)
    return out


def mlp(params, x, activations=()):
    """Outputs [N, K] of a multi-layer perceptron: z of its last layer."""
    return layers(params, x, activations)[-1][1]


def mlp_scale(params, x, activations=()):
    """[(S of a_{l-1}, S of z_l)]: the same network over absolute values, |g(z)| and its rounding bounded by S of z."""
    a, out = np.abs(np.asarray(x, np.float64)), []
    for (kernel, bias), name in zip(float64(params), [*activations, "identity"], strict=True):
        z = a @ np.abs(kernel) + np.abs(bias)
        out.append((a, z))
        a = 1 + z / 4 if name == "sigmoid" else z
    return out


# -------------------------------------------------------------------------------------------------------- likelihoods


def sigmoid(z):
    """σ(z) = 1 / (1 + e^-z)."""
    return scipy.special.expit(np.asarray(z, np.float64))


def softmax(z):
    """e^{z_k} / Σ_j e^{z_j}, along the last axis."""
    return scipy.special.softmax(np.asarray(z, np.float64), axis=-1)


def log_prob(likelihood, outputs, y, scale=1.0):
    """log P(y | outputs) of every row.

    bernoulli: y log σ(z) + (1 - y) log σ(-z);  categorical: z_y - log Σ_k e^{z_k};
    gaussian: Σ_k log N(y_k; μ_k, σ²)
    """
    z, y = np.asarray(outputs, np.float64), np.asarray(y)
    if likelihood == "bernoulli":
        return scipy.special.log_expit(np.where(y == 1, z[:, 0], -z[:, 0]))
    if likelihood == "categorical":
        return scipy.special.log_softmax(z, axis=1)[np.arange(len(z)), y]
    residual = (np.reshape(y, z.shape) - z) / scale
    return np.sum(-0.5 * residual**2 - np.log(scale) - 0.5 * np.log(2 * np.pi), axis=1)


def log_prob_scale(likelihood, output_scale, y):
    """S of log P, every row."""
    if likelihood == "gaussian":
        return 1 + np.sum((np.abs(np.reshape(y, output_scale.shape)) + output_scale) ** 2, axis=1)
    return 1 + np.log(output_scale.shape[1] + 1) + 2 * output_scale.max(axis=1)


def output_gradient(likelihood, outputs, y, scale=1.0):
    """∂ log P / ∂ outputs of every row: what was seen minus what was expected, y - p, or (y - μ) / σ²."""
    z, y = np.asarray(outputs, np.float64), np.asarray(y)
    if likelihood == "bernoulli":
        return y[:, None] - sigmoid(z)
    if likelihood == "categorical":
        return np.eye(z.shape[1])[y] - softmax(z)
    return (np.reshape(y, z.shape) - z) / scale**2


# --------------------------------------------------------------------------------------------------------- objectives


def objective(likelihood, params, x, y, weight=None, l2=0.0, activations=()):
    """Σ_i weight_i log P(y_i | x_i; w) / Σ_i weight_i - ½ l2 Σ kernel²."""
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    terms = log_prob(likelihood, mlp(params, x, activations), y)
    return np.sum(weight * terms) / np.sum(weight) - 0.5 * l2 * sum(np.sum(k**2) for k, _ in float64(params))


def objective_scale(likelihood, params, x, y, weight=None, l2=0.0, activations=()):
    """S of the objective."""
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    terms = log_prob_scale(likelihood, mlp_scale(params, x, activations)[-1][1], y)
    return np.sum(weight * terms) / np.sum(weight) + 0.5 * l2 * sum(np.sum(k**2) for k, _ in float64(params))


def gradient(likelihood, params, x, y, weight=None, l2=0.0, activations=()):
    """Gradient of the objective, by the chain rule from the last layer back.

    δ_L = weight/Σweight * (y - p),  δ_l = (δ_{l+1} W_{l+1}ᵀ) g_l'(z_l),  ∂W_l = a_{l-1}ᵀ δ_l - l2 W_l,  ∂b_l = Σ_i δ_l
    """
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    forward = layers(params, x, activations)
    delta = output_gradient(likelihood, forward[-1][1], y) * (weight / np.sum(weight))[:, None]
    gradients = []
    for level in reversed(range(len(forward))):
        a, _ = forward[level]
        kernel = float64(params)[level][0]
        gradients.append((a.T @ delta - l2 * kernel, delta.sum(axis=0)))
        if level:
            delta = (delta @ kernel.T) * ACTIVATIONS[activations[level - 1]][1](forward[level - 1][1])
    return gradients[::-1]


def gradient_scale(likelihood, params, x, y, weight=None, l2=0.0, activations=()):
    """S of every entry of the gradient: the chain rule over absolute values, rounding of y - p and of g' included.

    g' is known to eps max|g''| S(z), so that its part is max|g'| + max|g''| S(z): the second numbers in `SLOPES`.
    """
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    forward = mlp_scale(params, x, activations)
    out = forward[-1][1]
    if likelihood == "gaussian":
        delta = np.abs(np.reshape(y, out.shape)) + out
    else:
        delta = np.broadcast_to(1 + 2 * out.max(axis=1, keepdims=True), out.shape)
    delta = delta * (weight / np.sum(weight))[:, None]
    scales = []
    for level in reversed(range(len(forward))):
        a, _ = forward[level]
        kernel = np.abs(float64(params)[level][0])
        scales.append((a.T @ delta + l2 * kernel, delta.sum(axis=0)))
        if level:
            slope, bend = SLOPES[activations[level - 1]]
            delta = (delta @ kernel.T) * (slope + bend * forward[level - 1][1])
    return scales[::-1]


def per_example_gradients(likelihood, params, x, y, activations=()):
    """The gradient of log P of each row alone: a list of N gradients."""
    return [gradient(likelihood, params, x[i : i + 1], y[i : i + 1], activations=activations) for i in range(len(x))]


# ----------------------------------------------------------------------------------------------------------- learning


def ascend(likelihood, params, x, y, steps, learning_rate, *, weight=None, l2=0.0, activations=(), aggregate="mean"):
    """Textbook gradient ascent: for each (indices, weights) in `steps`, w <- w + α ∇ objective(w, those rows).

    Weights of None are ones; aggregate="sum" multiplies the gradient by the rows' total weight; rows of no weight make
    no step. Returns the parameters and, for every step, the mean log likelihood of its rows before it.
    """
    params, history = float64(params), []
    x, y = np.asarray(x, np.float64), np.asarray(y)
    weight = np.ones(len(x)) if weight is None else np.asarray(weight, np.float64)
    for indices, step_weight in steps:
        rows = weight[indices] * (1.0 if step_weight is None else np.asarray(step_weight, np.float64))
        if rows.sum() == 0:
            history.append(np.nan)
            continue
        part = (x[indices], y[indices], rows)
        history.append(objective(likelihood, params, *part, activations=activations))
        rate = learning_rate * (rows.sum() if aggregate == "sum" else 1.0)
        slope = gradient(likelihood, params, *part, l2, activations)
        params = [(k + rate * dk, b + rate * db) for (k, b), (dk, db) in zip(params, slope, strict=True)]
    return params, history
