"""jaxnn: functional JAX for learning by gradient ascent on a log likelihood.

Everything follows from log P(y | x; w) of one example. A line that tells two kinds of tumour apart, or a deep network
that reads digits:

    >>> import jaxnn, optax
    >>> train, hold_out, test = jaxnn.data.split(jaxnn.data.load("breast_cancer"), (0.7, 0.15, 0.15), seed=0)
    >>> train, hold_out, test = jaxnn.data.standardise(train, hold_out, test)
    >>> model = jaxnn.Mlp((30, 16, 1), activation=jaxnn.tanh)
    >>> objective = jaxnn.LogLikelihood(model, jaxnn.bernoulli, l2=1e-4)
    >>> result = jaxnn.fit(objective, optax.adam, model.init(1), train, hold_out, learning_rate=0.01, key=0)
    >>> str(result.status)
    'stopped_early'
    >>> jaxnn.evaluate(objective, result.params, test).accuracy > 0.9
    True
"""

from jaxnn import checkpoint as checkpoint
from jaxnn import data as data
from jaxnn import optimum as optimum
from jaxnn import per_example as per_example
from jaxnn import plotting as plotting
from jaxnn import search as search
from jaxnn._activations import identity as identity
from jaxnn._activations import relu as relu
from jaxnn._activations import sigmoid as sigmoid
from jaxnn._activations import tanh as tanh
from jaxnn._aggregates import clipped as clipped
from jaxnn._ascent import ascend as ascend
from jaxnn._ascent import ascent_step as ascent_step
from jaxnn._errors import CheckpointError as CheckpointError
from jaxnn._errors import ConfigError as ConfigError
from jaxnn._errors import DataFormatError as DataFormatError
from jaxnn._errors import DownloadError as DownloadError
from jaxnn._errors import DtypeError as DtypeError
from jaxnn._errors import LabelError as LabelError
from jaxnn._errors import MemoryBudgetError as MemoryBudgetError
from jaxnn._errors import NonFiniteError as NonFiniteError
from jaxnn._errors import ShapeError as ShapeError
from jaxnn._evaluate import Evaluation as Evaluation
from jaxnn._evaluate import evaluate as evaluate
from jaxnn._evaluate import predict as predict
from jaxnn._evaluate import predict_proba as predict_proba
from jaxnn._fit import FitResult as FitResult
from jaxnn._fit import fit as fit
from jaxnn._likelihoods import Bernoulli as Bernoulli
from jaxnn._likelihoods import Categorical as Categorical
from jaxnn._likelihoods import Gaussian as Gaussian
from jaxnn._likelihoods import bernoulli as bernoulli
from jaxnn._likelihoods import categorical as categorical
from jaxnn._likelihoods import gaussian as gaussian
from jaxnn._models import Linear as Linear
from jaxnn._models import Mlp as Mlp
from jaxnn._models import kernel_mask as kernel_mask
from jaxnn._models import summary as summary
from jaxnn._objectives import LogLikelihood as LogLikelihood
from jaxnn._objectives import from_function as from_function
from jaxnn._plans import FullBatch as FullBatch
from jaxnn._plans import MiniBatch as MiniBatch
from jaxnn._plans import Stochastic as Stochastic
from jaxnn._saved import SavedRun as SavedRun
from jaxnn._saved import load_run as load_run
from jaxnn._state import History as History
from jaxnn._state import State as State
from jaxnn._state import Status as Status
from jaxnn._state import init_state as init_state
from jaxnn._sweep._ensemble import Ensemble as Ensemble
from jaxnn._sweep._ensemble import ensemble as ensemble
from jaxnn._sweep._range import RateRange as RateRange
from jaxnn._sweep._range import learning_rate_range as learning_rate_range
from jaxnn._sweep._runs import Runs as Runs
from jaxnn._sweep._sweep import sweep as sweep
from jaxnn._sweep._verdict import Verdict as Verdict
from jaxnn._sweep._verdict import verdict as verdict
from jaxnn._types import Batch as Batch
from jaxnn._version import __version__ as __version__
