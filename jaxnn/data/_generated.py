"""Points in the plane, two classes: circle, xor, gauss and spiral, as the TensorFlow Playground defines them.

The domain is about [-6, 6]². In circle and xor noise moves a point only while its label is worked out, so
that points near a border may carry the other label; in gauss and spiral it moves the point itself. Both
classes have the same size, within 1, except for the labels that noise changes.

References:
  D. Smilkov and S. Carter, TensorFlow Playground (2016), playground.tensorflow.org.
"""

import numpy as np

from jaxnn._checks import check_integer, check_number
from jaxnn.data._dataset import Dataset, dataset

RADIUS = 5.0


def circle(num_examples: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """two classes in the plane: a disc (1) inside a ring (0)"""
    rng, label = _start("circle", num_examples, noise, seed)
    inside = label == 1
    radius = RADIUS * rng.uniform(np.where(inside, 0.0, 0.7), np.where(inside, 0.5, 1.0))
    x = _polar(radius, rng.uniform(0, 2 * np.pi, num_examples))
    seen = x + noise * rng.uniform(-RADIUS, RADIUS, x.shape)
    return _finish("circle", x, np.hypot(*seen.T) < RADIUS / 2)


def xor(num_examples: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """two classes in the plane: coordinates of the same sign (1) or not (0)"""
    rng, label = _start("xor", num_examples, noise, seed)
    sign = np.where(rng.random(num_examples) < 0.5, 1.0, -1.0)
    signs = np.stack([sign, np.where(label == 1, sign, -sign)], axis=1)
    x = signs * (0.3 + rng.uniform(0, 5, (num_examples, 2)))  # 0.3: a gap along the axes
    seen = x + noise * rng.uniform(-5, 5, x.shape)
    return _finish("xor", x, seen[:, 0] * seen[:, 1] >= 0)


def gauss(num_examples: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """two classes in the plane: round clouds around (2, 2) (1) and (-2, -2) (0)"""
    rng, label = _start("gauss", num_examples, noise, seed)
    variance = 0.5 + 7.0 * noise  # 0.5 to 4 for noise from 0 to 0.5
    centre = np.where(label == 1, 2.0, -2.0)[:, None]
    return _finish("gauss", centre + np.sqrt(variance) * rng.normal(size=(num_examples, 2)), label)


def spiral(num_examples: int = 500, noise: float = 0.1, seed: int = 0) -> Dataset:
    """two classes in the plane: two arms that wind 1.75 times around the origin"""
    rng, label = _start("spiral", num_examples, noise, seed)
    arm_length = np.where(label == 1, label.sum(), num_examples - label.sum())
    along = np.where(label == 1, np.cumsum(label) - 1, np.cumsum(1 - label) - 1) / arm_length  # in [0, 1)
    turn = 1.75 * 2 * np.pi * along + np.where(label == 1, 0.0, np.pi)
    x = _polar(RADIUS * along, turn)
    return _finish("spiral", x + noise * rng.uniform(-1, 1, x.shape), label)


def _start(name: str, num_examples: int, noise: float, seed: int) -> tuple[np.random.Generator, np.ndarray]:
    """Check the options; return the generator and the labels before noise, half and half in random order."""
    who = f"data.load({name!r})"
    check_integer(who, "num_examples", num_examples, at_least=2)
    check_number(who, "noise", noise, at_most=1.0)
    check_integer(who, "seed", seed, at_least=0)
    rng = np.random.default_rng(seed)
    return rng, rng.permutation(np.arange(num_examples) % 2)


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)


def _finish(name: str, x: np.ndarray, label: np.ndarray) -> Dataset:
    return dataset(x, label, num_classes=2, feature_names=("x1", "x2"), name=name)
