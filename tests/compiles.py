"""What JAX traces and compiles, by name, from its own log; and a jit that compiles faster and runs slower."""

import contextlib
import functools
import logging
import re

import jax


class Log(list):
    """Lines of JAX's log: `traced(name)` and `compiled(name)` count those of one function."""

    def traced(self, name):
        return sum(line.startswith(f"Finished tracing {name} ") for line in self)

    def compiled(self, name=r"[^)]+"):
        return sum(re.match(rf"Compiling jit\({name}\)", line) is not None for line in self)


@contextlib.contextmanager
def jax_log():
    """Collect what JAX says about tracing and compiling inside the block."""
    log = Log()

    class Collect(logging.Handler):
        def emit(self, record):
            log.append(record.getMessage())

    handler, logger = Collect(), logging.getLogger("jax")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        with jax.log_compiles():
            yield log
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@functools.cache
def _quick_options():
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda a: a, compiler_options=options)(0.0)
    except Exception:  # another jaxlib or device knows other options; then it compiles as usual
        return None
    return options


def quick_jit(function, **options):
    """Return `jax.jit(function)` without slow optimisations: the same mathematics, compiled three times faster."""
    return jax.jit(function, compiler_options=_quick_options(), **options)
