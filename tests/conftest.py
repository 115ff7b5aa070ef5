"""What all tests share: programs compiled in half the time, the Hypothesis profiles, double precision on request, small
files, a fresh trace counter.
"""

import os
import signal

import chex
import hypothesis
import jax
import jaxtyping
import matplotlib
import matplotlib._pylab_helpers
import pytest
from compiles import QUICK_FLAGS
from flowers import make_home
from small_files import write_file

# Nearly all of the time of the tests goes into some 3,000 small programs, each run a few times. Here they are compiled
# without the optimisations that take XLA longest: the same mathematics, at half the price. What runs in a process of
# its own (kills, signals) mostly is compiled as for a user; with XLA_FLAGS set, even to nothing, all of it is.
if "XLA_FLAGS" not in os.environ:
    os.environ["XLA_FLAGS"] = QUICK_FLAGS
    jax.devices()  # reads them
    del os.environ["XLA_FLAGS"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts jobs in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile(
    "nightly", parent=hypothesis.settings.get_profile("ci"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture
def x64():
    """Double precision inside one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def wrong_types():
    """No check of annotations: for tests that pass a wrong type on purpose, to read the library's own message."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture
def put(tmp_path):
    """Write a small file and return its path; what it may hold: small_files.py."""

    def write(name, content):
        write_file(tmp_path / name, content)
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """A folder with files of irises and the run folder of a model trained on them: flowers.py."""
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def nothing_global_changes():
    """Matplotlib is as it was, and pyplot knows of no figure."""
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before
    assert not matplotlib._pylab_helpers.Gcf.figs


@pytest.fixture(autouse=True)
def _fresh_trace_counter():
    chex.clear_trace_counter()
    yield
