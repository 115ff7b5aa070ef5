"""Which examples each step reads: full batch, mini-batches, single examples, as pure functions of (key, epoch, step).

There is no iterator to save: the same key, epoch and step always give the same indices, on any device.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from jaxnn._checks import as_key, check_flag, check_integer

# An example never swaps in r rounds with probability 2^-r: too many fixed points. Measured for N from 2 to 60,000
# (tests/test_plans.py): 12 rounds fail from N = 300 on, 16 from 1,000 on, 20 and more cannot be told from uniform.
_ROUNDS = 28
_MOST = 2**31 - 1  # the largest int32


@jax.tree_util.register_static
@dataclass(frozen=True)
class FullBatch:
    """Every step reads all N examples: batch gradient ascent. One step an epoch.

    Example:
      >>> import jaxnn
      >>> jaxnn.FullBatch().num_steps(1000)
      1
    """

    def batch_size(self, num_examples: int) -> int:
        """Return N."""
        return num_examples

    def num_steps(self, num_examples: int) -> int:
        """Return 1."""
        del num_examples
        return 1

    def indices(self, key, epoch, step, num_examples: int) -> tuple[None, None]:
        """Return (None, None): all examples, in stored order, with weight one."""
        del key, epoch, step, num_examples
        return None, None


@jax.tree_util.register_static
@dataclass(frozen=True)
class MiniBatch:
    """Every step reads B examples: mini-batch gradient ascent.

    Without replacement an epoch is a fresh random order of all examples, cut into ceil(N / B) batches; the last one, if
    ragged, is filled up with index 0 at weight 0. With replacement each index is drawn anew, uniformly.

    Args:
      size: B, examples a step, >= 1; more than N means N.
      replacement: whether one example can come twice in an epoch.

    Raises:
      ConfigError: size no whole number >= 1.

    Example:
      >>> import jax, jaxnn
      >>> jaxnn.MiniBatch(32).num_steps(1000)
      32
      >>> sorted(jaxnn.MiniBatch(5).indices(jax.random.key(0), 0, 0, 5)[0].tolist())
      [0, 1, 2, 3, 4]
    """

    size: int
    replacement: bool = False

    def __post_init__(self):
        object.__setattr__(self, "size", check_integer("MiniBatch", "size", self.size, at_least=1))
        check_flag("MiniBatch", "replacement", self.replacement)

    def batch_size(self, num_examples: int) -> int:
        """Return B, at most N."""
        return min(self.size, num_examples)

    def num_steps(self, num_examples: int) -> int:
        """Return ceil(N / B)."""
        return math.ceil(num_examples / self.batch_size(num_examples))

    def indices(
        self, key: Any, epoch: Int[Array, ""] | int, step: Int[Array, ""] | int, num_examples: int
    ) -> tuple[Int[Array, " B"], Float[Array, " B"] | None]:
        """Return the indices of one step, and weights (1, or 0 where a ragged last batch is filled up) or None.

        Args:
          key: typed key or int seed.
          epoch, step: whole numbers in [0, 2³¹), or `int32[]`.
          num_examples: N, in [1, 2³¹).

        Raises:
          ConfigError, ShapeError: what is no such number or key; the values of arrays are not looked at.
        """
        key = as_key("MiniBatch.indices", key)
        check_integer("MiniBatch.indices", "num_examples", num_examples, at_least=1, at_most=_MOST)
        for name, count in (("epoch", epoch), ("step", step)):
            if not isinstance(count, jax.Array):
                check_integer("MiniBatch.indices", name, count, at_least=0, at_most=_MOST)
        size = self.batch_size(num_examples)
        if self.replacement:
            step_key = jax.random.fold_in(jax.random.fold_in(key, epoch), step)
            return jax.random.randint(step_key, (size,), 0, num_examples, jnp.int32), None
        positions = jnp.asarray(step, jnp.int32) * size + jnp.arange(size, dtype=jnp.int32)
        if num_examples % size == 0:
            return shuffled(key, epoch, positions, num_examples), None
        present = positions < num_examples
        indices = shuffled(key, epoch, jnp.where(present, positions, 0), num_examples)
        return jnp.where(present, indices, 0), present.astype(jax.dtypes.canonicalize_dtype(float))


def Stochastic(replacement: bool = True) -> MiniBatch:
    """Return `MiniBatch(1)`: single-example gradient ascent, by default the textbook's "pick a random j"."""
    return MiniBatch(1, replacement=replacement)


def shuffled(
    key: PRNGKeyArray,
    epoch: Int[Array, ""] | int,
    positions: Int[Array, "..."],
    num_examples: int | Int[Array, ""],
) -> Int[Array, "..."]:
    """Return where each position of [0, N) goes under the random permutation of an epoch, without building it.

    The swap-or-not shuffle: in round r, x and its partner (k_r - x) mod N change places or not, by a keyed coin that
    both see as the coin of the larger of the two. Each round is its own inverse, so the whole is a permutation of [0,
    N) for any N, with no table and no rejected draws; 60,000 indices take about a millisecond on one core, sorting
    takes 25.

    Args:
      key: typed random key.
      epoch: `int32[]`; the k_r and the salts of the coins are hashed from it and the key.
      positions: `int32[...]` in [0, N).
      num_examples: N, in [1, 2³¹).

    References:
      Hoang, Morris, Rogaway (2012), "An Enciphering Scheme Based on a Card Shuffle".
    """
    n = jnp.uint32(num_examples)
    pivots, salts = _words(key, epoch, (2, _ROUNDS))
    pivots %= n

    def swap_or_not(r, x):
        partner = jnp.where(pivots[r] >= x, pivots[r] - x, pivots[r] + n - x)
        coin = _hash(jnp.maximum(x, partner) ^ salts[r]) >> 31 == 1
        return jnp.where(coin, partner, x)

    return jax.lax.fori_loop(0, _ROUNDS, swap_or_not, positions.astype(jnp.uint32)).astype(jnp.int32)


def _words(key: PRNGKeyArray, epoch: Int[Array, ""] | int, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """Return words of 32 bits: each is its own number, hashed with every word of the key and with the epoch.

    `fold_in` and `bits` of `jax.random` would do, but take 0.3 s to compile, a tenth of a first small fit.
    """
    words = _hash(jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape))
    for secret in (*jax.random.key_data(key), jnp.asarray(epoch, jnp.int32).astype(jnp.uint32)):
        words = _hash(words ^ secret)
    return words


def _hash(h: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """Return 32 well-mixed bits of 32: an odd constant added, then two rounds of xor-shift and multiply.

    The constant keeps 0 from being its own hash.
    """
    h = h + jnp.uint32(0x9E3779B9)
    h = (h ^ (h >> 16)) * jnp.uint32(0x21F0AAAD)
    h = (h ^ (h >> 15)) * jnp.uint32(0x735A2D97)
    return h ^ (h >> 15)
