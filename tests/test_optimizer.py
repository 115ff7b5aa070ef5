"""Optax optimisers and schedules: which climb, which are refused and why, and that the sign is turned before optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib
from small import bits

import jaxnn
from jaxnn import Batch, ConfigError, from_function
from jaxnn._door import strong
from jaxnn._optimizer import as_optimizer

_rng = np.random.default_rng(0)
X = _rng.normal(size=(48, 3)).astype(np.float32)
Y = (X @ [[2, -1, 0], [0, 1, -1], [1, 0, -2]] + _rng.gumbel(size=(48, 3))).argmax(1).astype(np.int32)
BATCH = Batch(X, Y)
OBJECTIVE = jaxnn.LogLikelihood(jaxnn.Linear(3, 3), jaxnn.categorical)  # concave: from -1.3 up to -0.54 nats
PARAMS = jax.tree.map(lambda leaf: jnp.asarray(_rng.normal(size=leaf.shape) / 3, leaf.dtype), OBJECTIVE.model.init(0))
TOP = -0.5361

partial = functools.partial
KEY = 7

# A factory and its rate: the rate is data. Each must gain half of what there is to gain in 60 steps.
FACTORIES = {
    "sgd": (optax.sgd, 0.5),
    "sgd, momentum": (partial(optax.sgd, momentum=0.9), 0.1),
    "sgd, nesterov": (partial(optax.sgd, momentum=0.9, nesterov=True), 0.1),
    "adabelief": (optax.adabelief, 0.1),
    "adadelta": (optax.adadelta, 5.0),
    "adafactor": (optax.adafactor, 0.2),
    "adagrad": (optax.adagrad, 0.5),
    "adam": (optax.adam, 0.1),
    "adamax": (optax.adamax, 0.1),
    "adamaxw": (partial(optax.adamaxw, mask=jaxnn.kernel_mask), 0.1),
    "adamw": (partial(optax.adamw, mask=jaxnn.kernel_mask), 0.1),
    "adan": (optax.adan, 0.1),
    "amsgrad": (optax.amsgrad, 0.1),
    "fromage": (optax.fromage, 0.1),
    "lamb": (optax.lamb, 0.1),
    "lars": (optax.lars, 30.0),
    "lbfgs": (optax.lbfgs, 1.0),
    "lion": (optax.lion, 0.03),
    "nadam": (optax.nadam, 0.1),
    "nadamw": (partial(optax.nadamw, mask=jaxnn.kernel_mask), 0.1),
    "noisy_sgd": (partial(optax.noisy_sgd, key=KEY), 0.3),
    "novograd": (optax.novograd, 0.1),
    "optimistic_adam": (optax.optimistic_adam, 0.1),
    "optimistic_adam_v2": (optax.optimistic_adam_v2, 0.1),
    "optimistic_gradient_descent": (optax.optimistic_gradient_descent, 0.5),
    "radam": (optax.radam, 0.1),
    "rmsprop": (optax.rmsprop, 0.05),
    "rprop": (optax.rprop, 0.05),
    "sign_sgd": (optax.sign_sgd, 0.05),
    "signum": (optax.signum, 0.05),
    "sm3": (optax.sm3, 0.3),
    "yogi": (optax.yogi, 0.1),
    "contrib.acprop": (contrib.acprop, 0.1),
    "contrib.ademamix": (contrib.ademamix, 0.05),
    "contrib.adopt": (contrib.adopt, 0.1),
    "contrib.cocob": (contrib.cocob, 1.0),
    "contrib.dadapt_adamw": (contrib.dadapt_adamw, 1.0),
    "contrib.dog": (partial(contrib.dog, init_step=("heuristic", 0.01)), 1.0),
    "contrib.dowg": (contrib.dowg, 1.0),
    "contrib.galore": (contrib.galore, 0.1),
    "contrib.madgrad": (contrib.madgrad, 0.1),
    "contrib.momo": (contrib.momo, 1.0),
    "contrib.momo_adam": (contrib.momo_adam, 0.1),
    "contrib.muon": (contrib.muon, 0.05),
    "contrib.prodigy": (contrib.prodigy, 1.0),
    "contrib.simplified_ademamix": (contrib.simplified_ademamix, 0.002),
    "inject_hyperparams(adam)": (optax.inject_hyperparams(optax.adam), 0.1),
}
# Transformations that bring their own rate, or none.
BUILT = {
    "lbfgs()": optax.lbfgs(),
    "polyak_sgd": optax.polyak_sgd(),
    "contrib.mechanize(sgd)": contrib.mechanize(optax.sgd(0.1)),
    "sgd, backtracking line search": optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
    "contrib.reduce_on_plateau": optax.chain(optax.sgd(0.5), contrib.reduce_on_plateau(patience=5)),
    "clip_by_global_norm": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.5)),
    "adaptive_grad_clip": optax.chain(optax.adaptive_grad_clip(0.2), optax.sgd(0.5)),
    "centralize": optax.chain(optax.centralize(), optax.sgd(0.5)),
    "add_noise": optax.chain(optax.add_noise(0.01, 0.55, KEY), optax.sgd(0.5)),
    "zero_nans": optax.chain(optax.zero_nans(), optax.sgd(0.5)),
    "ema of updates": optax.chain(optax.sgd(0.5), optax.ema(0.9)),
    "apply_if_finite": optax.apply_if_finite(optax.sgd(0.5), 3),
    "MultiSteps(...).gradient_transformation()": optax.MultiSteps(optax.sgd(0.5), 2).gradient_transformation(),
    "flatten": optax.flatten(optax.adam(0.1)),
    "masked": optax.chain(optax.masked(optax.add_decayed_weights(1e-3), jaxnn.kernel_mask), optax.sgd(0.5)),
    "freeze": optax.chain(optax.sgd(0.5), optax.freeze(jax.tree.map(lambda leaf: leaf.ndim == 1, PARAMS))),
    "multi_transform": optax.multi_transform({True: optax.sgd(0.5), False: optax.adam(0.1)}, jaxnn.kernel_mask(PARAMS)),
    "inject_hyperparams(adam)(0.1)": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
    "constant_schedule": optax.sgd(optax.constant_schedule(0.5)),
    "linear_schedule": optax.sgd(optax.linear_schedule(1.0, 0.1, 60)),
    "polynomial_schedule": optax.sgd(optax.polynomial_schedule(1.0, 0.1, 2, 60)),
    "cosine_decay_schedule": optax.sgd(optax.cosine_decay_schedule(1.0, 60)),
    "exponential_decay": optax.sgd(optax.exponential_decay(0.5, 10, 0.9)),
    "warmup_cosine_decay_schedule": optax.sgd(optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 60)),
    "piecewise_constant_schedule": optax.sgd(optax.piecewise_constant_schedule(0.5, {30: 0.5})),
    "cosine_onecycle_schedule": optax.sgd(optax.cosine_onecycle_schedule(60, 1.0)),
    "join_schedules": optax.sgd(
        optax.join_schedules([optax.constant_schedule(0.5), optax.constant_schedule(0.1)], [30])
    ),
    "inject_hyperparams(sgd)(schedule)": optax.inject_hyperparams(optax.sgd)(optax.cosine_decay_schedule(1.0, 60)),
}
CLIMBERS = FACTORIES | {name: (made, None) for name, made in BUILT.items()}


def signature(tree):
    """Return what JAX compiles for: structure, and shape, dtype and weakness of every leaf."""
    return jax.tree.structure(tree), [(a.shape, a.dtype, a.weak_type) for a in jax.tree.leaves(tree)]


@pytest.mark.filterwarnings("ignore:`optimistic_adam` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", CLIMBERS)
def test_the_optimizer_climbs_and_its_second_step_is_the_program_of_its_first(name):
    optimizer, rate = CLIMBERS[name]
    state = jaxnn.init_state(OBJECTIVE, optimizer, PARAMS, learning_rate=rate)

    def step(state):
        return jaxnn.ascent_step(OBJECTIVE, optimizer, state, BATCH)[0]

    traced = jax.eval_shape(lambda s: (s, step(s)), state)
    assert signature(traced[0]) == signature(traced[1])
    end = jax.jit(lambda s: jax.lax.fori_loop(0, 60, lambda _, s: step(s), s))(state)
    before, after = OBJECTIVE(PARAMS, BATCH), OBJECTIVE(end.params, BATCH)
    assert after - before > 0.5 * (TOP - before), f"{name}: {before:.3f} -> {after:.3f}"


def test_half_the_gain_is_a_bar_that_can_be_missed():
    state = jaxnn.init_state(OBJECTIVE, optax.sgd, PARAMS, learning_rate=1e-3)
    end = jax.jit(
        lambda s: jax.lax.fori_loop(0, 60, lambda _, s: jaxnn.ascent_step(OBJECTIVE, optax.sgd, s, BATCH)[0], s)
    )(state)
    before = OBJECTIVE(PARAMS, BATCH)
    assert 0 < OBJECTIVE(end.params, BATCH) - before < 0.5 * (TOP - before)


@pytest.mark.parametrize("name", ["adam", "noisy_sgd", "apply_if_finite"])
def test_a_whole_run_with_it_climbs_too(name):
    optimizer, rate = CLIMBERS[name]
    state = jaxnn.init_state(OBJECTIVE, optimizer, PARAMS, learning_rate=rate)
    plan = jaxnn.MiniBatch(16)
    end, history = jax.jit(lambda s: jaxnn.ascend(OBJECTIVE, optimizer, s, BATCH, plan, 20))(state)
    assert end.status == jaxnn.Status.MAX_EPOCHS and history.log_likelihood[-1] - history.log_likelihood[0] > 0.3


def test_a_schedule_moves_with_the_steps_that_were_taken():
    optimizer = optax.sgd(optax.piecewise_constant_schedule(1.0, {2: 0.0}))  # rate 1, 1, then 0
    step = jax.jit(lambda s, b: jaxnn.ascent_step(OBJECTIVE, optimizer, s, b))
    state = jaxnn.init_state(OBJECTIVE, optimizer, PARAMS)
    full, empty = (BATCH._replace(weight=np.full(48, w, np.float32)) for w in (1, 0))
    seen = []
    for batch in (full, empty, empty, full, full, empty, full):  # an empty batch is no step of the schedule
        state, info = step(state, batch)
        seen.append(info.update_ratio.item() > 0)
    assert [seen[i] for i in (0, 3, 4, 6)] == [True, True, False, False]


# Refused, with a reason.

LOOK = optax.lookahead(optax.sgd(0.1), 5, 0.5)
REFUSED = {
    "lookahead": (LOOK, "lookahead: it keeps two sets of parameters"),
    "lookahead in a chain": (optax.chain(optax.clip(1.0), LOOK), "lookahead: it keeps two sets of parameters"),
    "schedule_free": (contrib.schedule_free(optax.sgd(0.1), 0.1), "schedule_free: its parameters must be transformed"),
    "schedule_free_sgd": (contrib.schedule_free_sgd(), "schedule_free: "),
    "schedule_free_adamw": (contrib.schedule_free_adamw(0.1), "schedule_free: "),
    "schedule_free in a chain": (
        optax.chain(optax.clip(1.0), contrib.schedule_free(optax.sgd(0.1), 0.1)),
        "schedule_free: its parameters must be transformed",
    ),
    "differentially_private_aggregate": (
        contrib.differentially_private_aggregate(1.0, 1.0, KEY),
        "differentially_private_aggregate: it needs one gradient an example",
    ),
    "dpsgd": (
        partial(contrib.dpsgd, l2_norm_clip=1.0, noise_multiplier=1.0, seed=7),
        "differentially_private_aggregate: it needs one gradient an example",
    ),
    "sam": (contrib.sam(optax.sgd(0.1), optax.sgd(0.1)), "sam: every second step"),
    "sam, opaque": (contrib.sam(optax.sgd(0.1), optax.sgd(0.1), opaque_mode=True), "sam: every second step"),
    "sophia": (contrib.sophia(0.1), "sophia: it calls the objective itself"),
    "a MultiSteps object": (optax.MultiSteps(optax.sgd(0.1), 2), r"call its \.gradient_transformation\(\)"),
    "a string": ("adam", "optimizer is an optax transformation or a factory"),
    "None": (None, "optimizer is an optax transformation or a factory"),
    "a function of something else": (lambda decay: optax.sgd(decay), "takes learning_rate and returns"),
    "a function that returns no transformation": (lambda learning_rate: 3, "takes learning_rate and returns"),
    "a class": (dict, "takes learning_rate and returns"),
    "one whose update has other shapes": (
        optax.stateless(lambda u, p: jax.tree.map(jnp.sum, u)),
        "takes one step on these parameters.*its update has shapes",
    ),
    "one that cannot take a step": (
        optax.GradientTransformation(lambda p: (), lambda u, s, p=None: 1 / 0),
        "takes one step on these parameters.*ZeroDivisionError",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_an_optimizer_that_cannot_work_is_refused_with_the_reason(name):
    optimizer, reason = REFUSED[name]
    factory = callable(optimizer)
    with pytest.raises(ConfigError, match=r"^init_state: .*; got .*; .*") as error:
        jaxnn.init_state(OBJECTIVE, optimizer, PARAMS, learning_rate=0.1 if factory else None)
    assert error.match(reason)


@pytest.mark.parametrize(
    "optimizer, rate, text",
    [
        (optax.sgd(0.1), 0.1, r"the rate is given once; got learning_rate=0\.1 .*; pass the factory, as optimizer="),
        (
            optax.sgd,
            None,
            r"a factory needs a rate; got learning_rate=None with optimizer=sgd; pass learning_rate=0\.1",
        ),
        (optax.sgd, optax.constant_schedule(0.1), r"learning_rate is a number; got a schedule; build .* optax\.sgd\(s"),
        (optax.sgd, -0.1, r"learning_rate is a finite number >= 0.*; got learning_rate=-0\.1; "),
        (optax.sgd, float("nan"), r"learning_rate is a finite number >= 0.*; got learning_rate=nan; "),
        (optax.sgd, float("inf"), r"learning_rate is a finite number >= 0.*; got learning_rate=inf; "),
        (optax.sgd, "0.1", r"learning_rate is a finite number >= 0.*; got learning_rate='0\.1'; "),
        (optax.sgd, True, r"learning_rate is a finite number >= 0.*; got learning_rate=True; "),
        (optax.sgd, np.zeros(2), r"learning_rate is a finite number >= 0.*; got learning_rate="),
        (partial(optax.sgd, learning_rate=0.1), 0.1, r"takes learning_rate .*multiple values"),
    ],
)
def test_a_rate_that_means_nothing_is_refused(optimizer, rate, text):
    with pytest.raises(ConfigError, match=r"^init_state: .*; got .*; .*") as error:
        jaxnn.init_state(OBJECTIVE, optimizer, PARAMS, learning_rate=rate)
    assert error.match(text)


# The sign.


def flat(params, x, y):
    """A log likelihood that does not depend on the parameters: only weight decay moves them."""
    return 0.0 * jnp.sum(params) - x[0] * y


def test_weight_decay_shrinks_the_weights():
    params = jnp.array([[1.0, -2.0], [3.0, -4.0]])
    objective, batch = from_function(flat), Batch(np.ones((2, 1), np.float32), np.ones(2, np.int32))
    for optimizer in (partial(optax.adamw, weight_decay=0.5), partial(optax.lion, weight_decay=0.5)):
        state = jaxnn.init_state(objective, optimizer, params, learning_rate=0.1)
        state, _ = jaxnn.ascent_step(objective, optimizer, state, batch)
        np.testing.assert_allclose(state.params, params * (1 - 0.1 * 0.5), rtol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "contrib.momo"])
def test_ascent_on_l_is_optax_descent_on_minus_l_bit_for_bit(name):
    factory, rate = FACTORIES[name]
    objective = jaxnn.LogLikelihood(OBJECTIVE.model, jaxnn.categorical, l2=0.1)
    climb = jax.jit(jax.value_and_grad(lambda params: objective(params, BATCH)))
    descend = jax.jit(jax.value_and_grad(lambda params: -objective(params, BATCH)))
    ours, theirs = as_optimizer("test", factory), optax.with_extra_args_support(factory(learning_rate=rate))
    up = down = PARAMS
    up_state, down_state = ours.init(up, rate), theirs.init(down)
    for _ in range(3):
        value, gradient = climb(up)
        update, up_state = ours.update(gradient, up_state, up, rate, value, lambda p: climb(p)[0])
        up = jax.tree.map(jnp.add, up, update)
        value, gradient = descend(down)
        update, down_state = theirs.update(
            gradient, down_state, down, value=value, grad=gradient, value_fn=lambda p: descend(p)[0]
        )
        down = optax.apply_updates(down, update)
    assert bits(up) == bits(down) and bits(up_state) == bits(down_state) and bits(up) != bits(PARAMS)


def spy(seen):
    """Return a transformation that notes what optax is given and moves nothing."""

    def update(updates, state, params=None, *, value, grad, value_fn, **extra):
        seen.append((updates, value, grad, value_fn(params), extra))
        return jax.tree.map(jnp.zeros_like, updates), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


@pytest.mark.parametrize("aggregate, scale", [("mean", 1), ("sum", 48)])
def test_gradient_value_and_value_fn_reach_optax_negated(aggregate, scale):
    objective = strong(jaxnn.LogLikelihood(OBJECTIVE.model, jaxnn.categorical, l2=0.1))
    seen = []
    optimizer = spy(seen)
    state = jaxnn.init_state(objective, optimizer, PARAMS)
    seen.clear()
    with jax.disable_jit():
        jaxnn.ascent_step(objective, optimizer, state, BATCH, aggregate=aggregate)
    ((updates, value, grad, value_of_params, extra),) = seen
    want, gradient = jax.jit(jax.value_and_grad(objective))(PARAMS, BATCH)
    np.testing.assert_allclose([value, value_of_params], [-scale * want] * 2, rtol=1e-5)
    for tree in (updates, grad):
        for got, expected in zip(jax.tree.leaves(tree), jax.tree.leaves(gradient), strict=True):
            np.testing.assert_allclose(got, -scale * expected, rtol=1e-4, atol=1e-6)
    assert not extra


# The optimiser as a value.


def test_factories_written_anew_are_one_value_and_built_optimizers_are_not():
    def value(optimizer):
        return as_optimizer("test", optimizer)

    assert value(optax.sgd) == value(optax.sgd)
    assert value(partial(optax.sgd, momentum=0.9)) == value(partial(optax.sgd, momentum=0.9))
    assert hash(value(partial(optax.sgd, momentum=0.9))) == hash(value(partial(optax.sgd, momentum=0.9)))
    assert value(partial(optax.sgd, momentum=0.9)) != value(partial(optax.sgd, momentum=0.8))
    assert value(optax.sgd) != value(optax.adam) and value(optax.sgd(0.1)) != value(optax.sgd(0.1))


def test_a_partial_with_an_option_that_cannot_be_hashed_works():
    optimizer = partial(optax.adamw, mask=jax.tree.map(lambda leaf: leaf.ndim > 1, PARAMS), b1=jnp.float32(0.9))
    state = jaxnn.init_state(OBJECTIVE, optimizer, PARAMS, learning_rate=0.1)
    _, info = jaxnn.ascent_step(OBJECTIVE, optimizer, state, BATCH)
    assert info.update_ratio > 0
