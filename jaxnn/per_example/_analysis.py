"""Where parameters meet the example: the equations of one log probability, read once, while tracing.

A leaf W is *factored* where it enters only through matrix products z = a W (however it is transposed, reshaped or cast
before) and look-ups z = W[i]: its gradient is then a sum of outer products of what the equation reads and ∂/∂z, which
a probe added to z gives. Every other leaf is *explicit*: its gradient is asked for as it stands; so is one that an
example uses so often that the factors would be larger. Calls (`jit`, `checkpoint`, which then saves no memory) are
looked into where a leaf enters them; loops, branches and functions with derivatives of their own are not.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnn._models import leaf_name
from jaxnn.per_example._matrix import Layout, Shape
from jaxnn.per_example._sites import LookupSite, lookup_site, product_site

_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr"}
_SAME_NUMBERS = {"copy", "copy_p", "sharding_constraint"}


class Step(NamedTuple):
    """An equation of the flat program, its inputs and outputs as places in a list of values; the site it is, if any."""

    equation: Any
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    site: int | None


class Way(NamedTuple):
    """What becomes of a leaf: its sites where it is factored, else none and the reason."""

    name: str
    shape: Shape
    dtype: Any
    sites: tuple[int, ...]
    reason: str | None

    @property
    def is_factored(self) -> bool:
        """Whether the gradient is kept in factors."""
        return self.reason is None


@dataclass(frozen=True)
class Analysis:
    """One log probability as a flat list of equations, with its sites and the way of every leaf.

    `num_bytes` are those of all values that it computes for one example, and of those whose derivatives it does.
    """

    steps: list[Step]
    constants: dict[int, Any]
    inputs: list[int]
    output: Any
    size: int
    sites: list[Any]
    probes: list[Any]
    ways: list[Way]
    num_bytes: int

    def evaluate(self, inputs: list[Any], probes: list[Array]) -> tuple[Array, list[list[Any]]]:
        """Return log P with a probe added to what each site makes, and the inputs of the sites."""
        values: list[Any] = [None] * self.size
        for place, value in (*self.constants.items(), *zip(self.inputs, inputs, strict=True)):
            values[place] = value

        def read(place):
            return place.val if isinstance(place, jex.Literal) else values[place]

        operands: list[Any] = [None] * len(self.sites)
        for equation, places, outputs, site in self.steps:
            read_in = [read(place) for place in places]
            with equation.ctx.manager:
                made = equation.primitive.bind(*read_in, **equation.primitive.get_bind_params(equation.params))
            made = made if equation.primitive.multiple_results else [made]
            if site is not None:
                operands[site], made = read_in, [made[0] + probes[site]]
            for place, value in zip(outputs, made, strict=True):
                values[place] = value
        return read(self.output), operands


def analyse(objective: Any, params: Any, x: Any, y: Any) -> Analysis:
    """Return the analysis of log P(y | x; w) of one example; x and y are its shapes and dtypes."""
    named, structure = jax.tree_util.tree_flatten_with_path(params)
    leaves = [leaf for _, leaf in named]

    def log_prob(leaves, objective, x, y):
        return objective.per_example(jax.tree.unflatten(structure, leaves), x, y)

    closed = jax.make_jaxpr(log_prob)(leaves, objective, x, y)
    reader = _Reader()
    inputs = [reader.place() for _ in closed.jaxpr.invars]
    for i, leaf in enumerate(leaves):
        reader.views[inputs[i]] = i, Layout(leaf.shape)
    reader.of_example.update(inputs[len(leaves) + len(jax.tree.leaves(objective)) :])
    (output,) = reader.read(closed.jaxpr, closed.consts, inputs)
    reader.use([output], "is what log_prob returns")
    ways = [
        reader.way_of(i, leaf_name(path) or "params", leaf.shape, leaf.dtype) for i, (path, leaf) in enumerate(named)
    ]
    return reader.analysis(inputs, output, ways)


class _Reader:
    """Reads equations in order, and knows of every value whether it is a view of a leaf, and carries the example."""

    def __init__(self):
        self.size = 0
        self.steps: list[Step] = []
        self.constants: dict[int, Any] = {}
        self.views: dict[Any, tuple[int, Layout]] = {}
        self.of_example: set[Any] = set()
        self.of_explicit: set[Any] = set()  # on the way back each example has a derivative of its own of these
        self.sites: list[Any] = []
        self.outcomes: list[Any] = []
        self.reasons: dict[int, str] = {}
        self.num_bytes = 0

    def place(self) -> int:
        """Return a new place."""
        self.size += 1
        return self.size - 1

    def use(self, places: Any, reason: str) -> None:
        """Note a use of the leaves seen at these places that is neither a product nor a look-up."""
        for leaf, _ in (self.views[place] for place in places if self.is_view(place)):
            self.reasons.setdefault(leaf, reason)

    def is_view(self, place: Any) -> bool:
        """Return whether the value at a place is a leaf, at most laid out differently."""
        return not isinstance(place, jex.Literal) and place in self.views

    def carries_example(self, place: Any) -> bool:
        """Return whether the value at a place depends on the example."""
        return not isinstance(place, jex.Literal) and place in self.of_example

    def way_of(self, leaf: int, name: str, shape: Shape, dtype: Any) -> Way:
        """Return what becomes of a leaf, after all is read."""
        numbers = tuple(n for n, site in enumerate(self.sites) if site.leaf == leaf)
        reason = self.reasons.get(leaf) or _too_much([self.sites[n] for n in numbers])
        return Way(name, shape, dtype, () if reason else numbers, reason)

    def analysis(self, inputs: list[int], output: Any, ways: list[Way]) -> Analysis:
        """Return what was read, without the sites of leaves that are explicit after all."""
        kept = [n for way in ways for n in way.sites]
        number = {old: new for new, old in enumerate(kept)}
        steps = [step._replace(site=number.get(step.site)) if step.site is not None else step for step in self.steps]
        return Analysis(
            steps=steps,
            constants=self.constants,
            inputs=inputs,
            output=output,
            size=self.size,
            sites=[self.sites[n] for n in kept],
            probes=[self.outcomes[n] for n in kept],
            ways=[way._replace(sites=tuple(number[n] for n in way.sites)) for way in ways],
            num_bytes=self.num_bytes,
        )

    def read(self, jaxpr: Any, constants: Any, inputs: list[Any]) -> list[Any]:
        """Read the equations of a jaxpr whose inputs lie at these places; return the places of its outputs."""
        place_of: dict[Any, Any] = dict(zip(jaxpr.invars, inputs, strict=True))
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            place_of[variable] = self.place()
            self.constants[place_of[variable]] = value
        for equation in jaxpr.eqns:
            places = tuple(v if isinstance(v, jex.Literal) else place_of[v] for v in equation.invars)
            name = equation.primitive.name
            if name in _CALLS and any(map(self.is_view, places)):
                inner = equation.params[_CALLS[name]]
                closed = isinstance(inner, jex.ClosedJaxpr)
                outputs = self.read(inner.jaxpr if closed else inner, inner.consts if closed else (), list(places))
            else:
                outputs = [self.place() for _ in equation.outvars]
                self.take(equation, places, outputs)
            place_of.update(zip(equation.outvars, outputs, strict=True))
        return [v if isinstance(v, jex.Literal) else place_of[v] for v in jaxpr.outvars]

    def take(self, equation: Any, places: tuple[Any, ...], outputs: list[int]) -> None:
        """Add an equation to the program; say what its outputs are."""
        of_example = any(map(self.carries_example, places))
        if of_example:
            self.of_example.update(outputs)
        site = None
        if any(map(self.is_view, places)):
            layout = self.view_of(equation, places)
            site = None if layout is not None else self.site_of(equation, places)
            name = equation.primitive.name
            if layout is not None:
                self.views[outputs[0]] = self.views[places[0]][0], layout
            elif site is not None:
                self.sites.append(site)
                self.outcomes.append(equation.outvars[0].aval)
            elif equation.outvars and name != "stop_gradient":  # what only prints has no derivative
                self.use(places, _REASONS.get(name, f"enters {name}"))
                self.of_explicit.update(outputs)
        of_explicit = any(not isinstance(place, jex.Literal) and place in self.of_explicit for place in places)
        if of_explicit:
            self.of_explicit.update(outputs)
        if of_example or of_explicit or not self.of_explicit.isdisjoint(outputs):
            self.num_bytes += _made_by(equation)
        self.steps.append(Step(equation, places, tuple(outputs), None if site is None else len(self.sites) - 1))

    def view_of(self, equation: Any, places: tuple[Any, ...]) -> Layout | None:
        """Return the layout of what an equation makes, if that is again a view of the same leaf."""
        if len(places) != 1 or len(equation.outvars) != 1:
            return None
        layout, (out,) = self.views[places[0]][1], equation.outvars
        name, params = equation.primitive.name, equation.params
        if name == "transpose":
            return layout.transposed(tuple(params["permutation"]))
        if name == "squeeze" or (name == "reshape" and params["dimensions"] is None):
            return layout.reshaped(out.aval.shape)
        if name == "broadcast_in_dim":  # W[:, None]: no number is repeated, and the axes keep their order
            return layout.reshaped(out.aval.shape) if out.aval.size == np.prod(layout.view, dtype=int) else None
        is_cast = name == "convert_element_type" and jnp.issubdtype(out.aval.dtype, jnp.floating)
        return layout if is_cast or name in _SAME_NUMBERS else None

    def site_of(self, equation: Any, places: tuple[Any, ...]) -> Any:
        """Return the site that an equation is, if it is one."""
        name = equation.primitive.name
        if any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in (*equation.invars, *equation.outvars)):
            return None  # of a complex product the gradient is the real part, and its norm is not that of the product
        if name == "dot_general":
            operand = 0 if self.carries_example(places[0]) else 1
            if self.is_view(places[1 - operand]) and self.carries_example(places[operand]):
                return product_site(equation, operand, *self.views[places[1 - operand]])
        elif name in ("gather", "dynamic_slice"):
            if self.is_view(places[0]) and self.carries_example(places[1]):
                return lookup_site(equation, *self.views[places[0]])
        return None


def _made_by(equation: Any) -> int:
    """Return the bytes of all that an equation makes, and those inside it: a loop keeps its own for the way back."""
    inner = [getattr(value, "jaxpr", value) for value in jax.tree.leaves(tuple(equation.params.values()))]
    within = sum(_made_by(e) for jaxpr in inner if isinstance(jaxpr, jex.Jaxpr) for e in jaxpr.eqns)
    made = sum(v.aval.size * v.aval.dtype.itemsize for v in equation.outvars if hasattr(v.aval, "dtype"))
    return made + within * equation.params.get("length", 1)


def _too_much(sites: list[Any]) -> str | None:
    """Return why the factors of these sites are not worth keeping, None where they are."""
    if not sites:
        return None
    if len({site.layout for site in sites}) > 1:
        return "is tied between products that lay it out differently"
    (p, q), rows = sites[0].layout.view, sum(site.rows for site in sites)
    is_table = all(isinstance(site, LookupSite) for site in sites)  # an index in place of p numbers
    held = rows * ((1 if is_table else p) + q)
    return f"its factors, {rows} rows, are larger" if rows > 1 and held > p * q else None


_REASONS = {
    "dot_general": "meets another parameter, a constant or a batch of matrices in a product",
    "add": "is added",
    "add_any": "is added",
    "sub": "is added",
    "mul": "scales",
    "div": "scales",
    "broadcast_in_dim": "is repeated",
    "conv_general_dilated": "is the kernel of a convolution",
    "scan": "enters a loop (scan)",
    "while": "enters a loop (while)",
    "cond": "enters a branch (cond)",
}
