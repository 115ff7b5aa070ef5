"""Gradients of single examples as a matrix [N, P] of float64, what NumPy makes of it, and what `per_example` says."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles

from jaxnn import per_example
from jaxnn.per_example import NoiseScale

PREVIOUS = NoiseScale(jnp.float32(3.0), jnp.float32(0.5))
DECAY = 0.75


def matrix(tree):
    """One row of float64 an example."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(len(leaf), math.prod(leaf.shape[1:])) for leaf in leaves], 1)


def vector(tree):
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def like(params, row):
    """A row of numbers as a tree like the parameters."""
    leaves, structure = jax.tree.flatten(params)
    parts = np.split(row, np.cumsum([np.size(leaf) for leaf in leaves])[:-1])
    return jax.tree.unflatten(structure, [p.reshape(np.shape(w)) for p, w in zip(parts, leaves, strict=True)])


def numpy_says(g, weight, c, v, max_norm):
    """What is to come of gradients g [N, P]; each by its formula."""
    w = np.ones(len(g)) if weight is None else np.asarray(weight, np.float64)
    norms = np.sqrt(np.sum(g**2, axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        shrink = np.where(norms > max_norm, max_norm / norms, 1.0)
        mean = w @ g / w.sum()
        second = w @ g**2 / w.sum()
        s, m = np.sum(w**2) / w.sum() ** 2, w @ norms**2 / w.sum()
        trace = (m - mean @ mean) / (1 - s) if s < 1 else np.nan
        fisher = (w * (g @ v)) @ g / w.sum()
    return {
        "materialise": g,
        "norms": norms,
        "weighted_sum": c @ g,
        "clipped_sum": (w * shrink) @ g,
        "clipped": np.sum((norms > max_norm) & (w > 0)),
        "mean": mean,
        "second_moment": second,
        "variance": np.maximum(second - mean**2, 0),
        "gram": g @ g.T,
        "inner": g @ v,
        "fisher_vector_product": fisher,
        "noise": np.array([trace, m - trace]),
    }


def methods(objective, params, batch, c, v, max_norm):
    """All that the methods say, and the log likelihoods."""
    f = per_example.factors(objective, params, batch)
    total, clipping = f.clipped_sum(max_norm)
    noise, smooth = f.noise_scale(), f.noise_scale(PREVIOUS, DECAY)
    return {
        "log_likelihoods": f.log_likelihoods,
        "materialise": f.materialise(),
        "norms": f.norms(),
        "weighted_sum": f.weighted_sum(c),
        "clipped_sum": total,
        "clipped": clipping.clipped,
        "clipping": clipping,
        "mean": f.mean(),
        "second_moment": f.second_moment(),
        "variance": f.variance(),
        "gram": f.gram(),
        "inner": f.inner(v),
        "fisher_vector_product": f.fisher_vector_product(v),
        "noise": jnp.stack([noise.trace, noise.square]),
        "smooth": jnp.stack([smooth.trace, smooth.square]),
    }


def functions(objective, params, batch, c, v, max_norm, memory=None):
    """The same from the functions, each in chunks that fit in memory."""
    it, more = (objective, params, batch), {} if memory is None else {"memory": memory}
    total, clipping = per_example.clipped_sum(*it, max_norm, **more)
    noise = per_example.noise_scale(*it, **more)
    return {
        "log_likelihoods": per_example.log_likelihoods(*it),
        "materialise": per_example.gradients(*it),
        "norms": per_example.norms(*it, **more),
        "weighted_sum": per_example.weighted_sum(*it, c, **more),
        "clipped_sum": total,
        "clipped": clipping.clipped,
        "clipping": clipping,
        "mean": per_example.mean(*it, **more),
        "second_moment": per_example.second_moment(*it, **more),
        "variance": per_example.variance(*it, **more),
        "gram": per_example.gram(*it, **more),
        "inner": per_example.inner(*it, v, **more),
        "fisher_vector_product": per_example.fisher_vector_product(*it, v, **more),
        "noise": jnp.stack([noise.trace, noise.square]),
    }


def fits(got, want, g, eps, c, v, c_tolerance=64):
    """Every quantity within so many eps of its scale."""
    size = np.abs(g).max(initial=0) if len(g) else 0
    lengths = np.sqrt(np.sum(g**2, 1))
    long = lengths.max(initial=0)
    scales = {
        "materialise": size,
        "norms": long,
        "weighted_sum": np.abs(c) @ np.abs(g) + size,
        "clipped_sum": len(g) * 7 * size,
        "clipped": 0,
        "mean": size,
        "second_moment": size**2,
        "variance": size**2,
        "gram": long**2,
        "inner": long * np.sqrt(v @ v),
        "fisher_vector_product": long**2 * np.sqrt(v @ v),
        "noise": 4 * long**2,
    }
    for name, scale in scales.items():
        a = got[name]
        a = matrix(a) if name == "materialise" else a if isinstance(a, np.ndarray) else vector(a)
        b = want[name]
        a, b = np.squeeze(np.asarray(a)), np.squeeze(np.asarray(b))
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=name)
        oracles.assert_close(np.nan_to_num(a), np.nan_to_num(b), np.squeeze(scale), eps, c_tolerance, name)
