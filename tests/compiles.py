"""What JAX traces and compiles, by name, from its own log; and how the tests have it compile."""

import contextlib
import logging
import os
import re

import jax

# The optimisations that take XLA longest, left out for the whole process (conftest.py) or left in for one `jax.jit`.
QUICK_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
FLAGS = os.environ.get("XLA_FLAGS", QUICK_FLAGS)  # of this process, whatever tests do to its environment later
AS_FOR_USERS = {"xla_backend_optimization_level": 3, "xla_cpu_use_fusion_emitters": True}


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
