"""Optax optimisers on an objective that is maximised: the one place that imports optax, and where the sign is turned.

Optax minimises. The gradient (and the value, for line searches) is negated *before* optax sees it: turned afterwards,
weight decay would make weights grow and every running average would be wrong.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnn._checks import check_number
from jaxnn._errors import ConfigError
from jaxnn._models import kernel_mask
from jaxnn._types import Params

# How a command line names an optimiser: the optax factory, and the rate it is usually given.
OPTIMIZERS: dict[str, tuple[Callable[..., Any], float]] = {
    "adam": (optax.adam, 1e-3),
    "adamw": (functools.partial(optax.adamw, mask=kernel_mask), 1e-3),
    "rmsprop": (optax.rmsprop, 1e-3),
    "sgd": (optax.sgd, 0.1),
    "momentum": (functools.partial(optax.sgd, momentum=0.9), 0.01),
    "nesterov": (functools.partial(optax.sgd, momentum=0.9, nesterov=True), 0.01),
}

# What cannot work here whatever the model, by its state, which is seen inside chains and wrappers, too.
REFUSED = {
    "LookaheadState": "lookahead: it keeps two sets of parameters in place of one",
    "ScheduleFreeState": "schedule_free: its parameters must be transformed before they are evaluated on a hold-out",
    "DifferentiallyPrivateAggregateState": (
        "differentially_private_aggregate: it needs one gradient an example, a step hands over their mean; clip with "
        "aggregate=jaxnn.clipped(max_norm)"
    ),
    "SAMState": "sam: every second step it leaves the parameters at a worse point, or it asks for a gradient function",
    "SophiaState": "sophia: it calls the objective itself, on labels it draws, and a step here hands over gradients",
}


# What updates every number by itself, so that it cannot tell a kernel from its transpose. (`nadam` and `nadamw` are
# partials of these.)
ELEMENTWISE = frozenset({
    optax.adabelief, optax.adadelta, optax.adagrad, optax.adam, optax.adamax, optax.adamaxw, optax.adamw, optax.adan,
    optax.amsgrad, optax.lion, optax.optimistic_adam_v2, optax.optimistic_gradient_descent, optax.radam, optax.rmsprop,
    optax.rprop, optax.sgd, optax.sign_sgd, optax.signum, optax.yogi,
})  # fmt: skip


@dataclass(frozen=True)
class Optimizer:
    """An optax optimiser as a hashable value: a transformation, or a factory called with the rate of each step.

    Two equal factories are one value, `functools.partial(optax.sgd, momentum=0.9)` written twice included, so they
    share one compiled program. Two calls of `optax.sgd(0.1)` are two values to optax, and compile twice.
    """

    make: Any
    arguments: tuple = ()
    keywords: tuple = ()
    is_factory: bool = False

    @property
    def name(self) -> str:
        """The optax function it comes from."""
        if isinstance(self.make, optax.GradientTransformation):
            return getattr(self.make.init, "__qualname__", "?").split(".")[0]
        return getattr(self.make, "__name__", repr(self.make))

    @property
    def is_elementwise(self) -> bool:
        """Whether it updates every number by itself, whatever the shape of the array it stands in."""
        masks = [value for name, value in self.keywords if "mask" in name]  # another's may look at shapes
        plain = not self.arguments and all(mask in (None, kernel_mask) for mask in masks)
        return self.is_factory and self.make in ELEMENTWISE and plain

    def transformation(self, learning_rate: Any) -> optax.GradientTransformationExtraArgs:
        """Return the optax transformation at this rate."""
        made = self.make
        if self.is_factory:
            made = made(*self.arguments, learning_rate=learning_rate, **dict(self.keywords))
        return optax.with_extra_args_support(made)

    def init(self, params: Params, learning_rate: Any) -> Any:
        """Return the optimiser's state for these parameters."""
        return _init(self, params, learning_rate)

    def traced_init(self, params: Params, learning_rate: Any) -> Any:
        """Return that state inside a program, where options may be traced, so that this is no value to hash."""
        return jax.tree.map(lambda leaf: _as(leaf, leaf), self.transformation(learning_rate).init(_wide(params)))

    def state_shapes(self, params: Params, learning_rate: Any) -> Any:
        """Return the shapes of that state; remembered, not traced again."""
        return _init.eval_shape(self, params, learning_rate)

    def update(
        self,
        gradient: Params,
        opt_state: Any,
        params: Params,
        learning_rate: Any,
        value: Any,
        value_fn: Callable,
    ) -> tuple[Params, Any]:
        """Return the update to *add* to the parameters, to raise value, and the next state."""
        down = _wide(jax.tree.map(jnp.negative, gradient))
        update, new_state = self.transformation(learning_rate).update(
            down, opt_state, _wide(params), value=-value, grad=down, value_fn=lambda p: -value_fn(p)
        )
        # Optax may widen or weaken a dtype; the state must stay exactly what it was, or every later step retraces.
        return jax.tree.map(_as, update, params), jax.tree.map(_as, new_state, opt_state)


@functools.partial(jax.jit, static_argnums=0)
def _init(optimizer: Optimizer, params: Params, learning_rate: Any) -> Any:
    return optimizer.traced_init(params, learning_rate)


def _wide(params: Params) -> Params:
    """Return parameters or a gradient in float32 or wider: in bfloat16 an average that forgets 0.001 of itself a step,
    as that of Adam, forgets nothing, because 0.999 of a number rounds to the number.
    """
    return jax.tree.map(lambda leaf: leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)), params)


def _as(new: Any, old: Any) -> Any:
    if jnp.issubdtype(jnp.result_type(old), jax.dtypes.extended):  # a random key: it has no other dtype to drift to
        return new
    return jnp.asarray(new, jnp.result_type(old))


def as_optimizer(who: str, optimizer: Any) -> Optimizer:
    """Return the optimiser as a value; raise `ConfigError` for what is none or cannot work here."""
    if isinstance(optimizer, optax.GradientTransformation):
        made = Optimizer(optimizer)
    elif not callable(optimizer):
        hint = "call its .gradient_transformation(), or " if hasattr(optimizer, "gradient_transformation") else ""
        raise ConfigError(
            f"{who}: optimizer is an optax transformation or a factory of one; got optimizer={optimizer!r}; "
            f"{hint}pass optax.sgd with learning_rate=0.1, say"
        )
    elif isinstance(optimizer, functools.partial):
        keywords = tuple(sorted(optimizer.keywords.items()))
        made = Optimizer(optimizer.func, optimizer.args, keywords, is_factory=True)
        try:
            hash(made)
        except TypeError:  # an unhashable option: then the partial itself is the value, equal to itself only
            made = Optimizer(optimizer, is_factory=True)
    else:
        made = Optimizer(optimizer, is_factory=True)
    _check_usable(who, made)
    return made


@functools.lru_cache
def lbfgs(memory: int) -> Optimizer:
    """Return L-BFGS with a zoom line search (strong Wolfe conditions), from so many past steps; the same value each
    time.
    """
    search = optax.scale_by_zoom_linesearch(max_linesearch_steps=30, initial_guess_strategy="one")
    return Optimizer(optax.lbfgs(memory_size=memory, linesearch=search))


def found_by_line_search(opt_state: Any) -> tuple[Any, Params, Any]:
    """Return value and gradient where the line search ended, of what is maximised, and how often it looked."""
    value, gradient, looked = (
        optax.tree_utils.tree_get(opt_state, name) for name in ("value", "grad", "num_linesearch_steps")
    )
    return -value, jax.tree.map(jnp.negative, gradient), looked


@functools.lru_cache(maxsize=256)
def _check_usable(who: str, optimizer: Optimizer) -> None:
    try:
        optimizer.transformation(0.1)
    except (TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{who}: an optimizer factory takes learning_rate and returns an optax transformation; "
            f"got optimizer={optimizer.name}, which failed with {error}; pass optax.sgd, say"
        ) from error


def check_rate(who: str, optimizer: Optimizer, learning_rate: Any) -> None:
    """Raise `ConfigError` unless a factory has a finite rate >= 0, and a finished transformation has none besides
    its own.
    """
    if not optimizer.is_factory:
        if learning_rate is not None:
            raise ConfigError(
                f"{who}: the rate is given once; got learning_rate={learning_rate!r} and an optimizer that has its "
                "own; "
                "pass the factory, as optimizer=optax.sgd, or leave learning_rate out"
            )
        return
    if learning_rate is None:
        raise ConfigError(
            f"{who}: a factory needs a rate; got learning_rate=None with optimizer={optimizer.name}; "
            "pass learning_rate=0.1, or build it yourself, as optax.sgd(0.1)"
        )
    if callable(learning_rate):
        raise ConfigError(
            f"{who}: learning_rate is a number; got a schedule; build the optimizer with it, as optax.sgd(schedule)"
        )
    check_number(who, "learning_rate", learning_rate)


def check_works(who: str, optimizer: Optimizer, params: Params, learning_rate: Any) -> None:
    """Raise `ConfigError` unless one step on these parameters returns an update of their shapes; nothing is
    computed.
    """
    try:
        update = _one_update.eval_shape(who, optimizer, params, learning_rate)
        shapes = [jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (update, params)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"its update has shapes {shapes[0]} for parameters of shapes {shapes[1]}")
    except ConfigError:
        raise
    except Exception as error:  # whatever optax raises inside, the user must learn which optimiser cannot be used
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ConfigError(
            f"{who}: the optimizer takes one step on these parameters; got optimizer={optimizer.name}, which failed "
            f"with {type(error).__name__}: {reason}; the README lists those that work"
        ) from error


@functools.partial(jax.jit, static_argnums=(0, 1))  # only its shape is asked for, and `jit` remembers that
def _one_update(who: str, optimizer: Optimizer, params: Params, learning_rate: Any) -> Params:
    opt_state = optimizer.init(params, learning_rate)
    _refuse(who, opt_state)
    return optimizer.update(params, opt_state, params, learning_rate, jnp.zeros(()), lambda p: jnp.zeros(()))[0]


def _refuse(who: str, opt_state: Any) -> None:
    """Raise `ConfigError` where any part of an optimiser's state belongs to one of those that cannot work here."""
    parts = []

    def note(node: Any) -> bool:
        parts.append(type(node).__name__)
        return False

    jax.tree.leaves(opt_state, is_leaf=note)
    for part in parts:
        if part in REFUSED:
            raise ConfigError(f"{who}: this optimizer cannot be used; got optax's {REFUSED[part]}; choose another")
