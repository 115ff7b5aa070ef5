"""From hill climbing to automatic differentiation: ways uphill on any function g(w) -> number of any pytree w.

    hill_climb, random_search       values of g only: look around, go where it is higher
    derivative                      ∂g/∂w: by differences of values, at random, forward, or in reverse
    steepest_direction              argmax over |d| <= epsilon of g'(w) d
    gradient_ascent                 w <- w + update(∇ g(w)), the whole path kept

Everything is maximised. A log likelihood is such a function of its parameters: `lambda w: objective(w, batch)`.

g is compiled into the program, and known there by == and its hash: calls with the same g and the same shapes compile
it once, however steps, rates and keys differ. A `lambda` written anew in every call is another g, and compiles again:
name it. What g closes over, or the object of a bound method holds, is as it was at the first call: write no state into
it. The programs keep g, and the data it closes over, until `jax.clear_caches()`.
"""

from jaxnn.search._ascend import gradient_ascent
from jaxnn.search._climb import hill_climb
from jaxnn.search._derivative import Derivative, derivative
from jaxnn.search._random import random_search
from jaxnn.search._result import Search
from jaxnn.search._steepest import steepest_direction

__all__ = [
    "Derivative",
    "Search",
    "derivative",
    "gradient_ascent",
    "hill_climb",
    "random_search",
    "steepest_direction",
]
