"""Every fault a user can cause, by its name in the list of faults, A1 to G7, through public verbs; F: by name.

First what is refused: one table of input, error and message, with the bug each row would catch. No row compiles
anything, draws from a key, writes a file or changes an argument or a global setting (side_effects.py). Then what is no
error: the right behaviour, against an expectation that shares no code with it.

Not here: the validators by themselves (test_checks), every kind of damaged file (test_read), every ending of a run
(test_ascent, test_fit).
"""

import io
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyarrow as pa
import pyarrow.parquet
import pytest
import small
from compiles import jax_log
from side_effects import side_effects
from small import HOLD_OUT, MODEL, OBJECTIVE, PARAMS, PLAN, TRAIN, bits

import jaxnn
from jaxnn import (
    Batch,
    ConfigError,
    DataFormatError,
    DtypeError,
    LabelError,
    LogLikelihood,
    MiniBatch,
    NonFiniteError,
    ShapeError,
    Status,
    data,
)

FAULTS = {letter + str(i + 1) for letter, n in zip("ABCDEFG", (12, 7, 8, 8, 10, 14, 7), strict=True) for i in range(n)}
ABSENT = {
    "E5": "a diverging lane of a sweep: `sweep` is still to come (lanes of vmap(ascend): test_ascent.py)",
    "E6": "per-example gradients beyond memory: tests/test_per_example.py",
    "G4": "tests/test_download.py",
    "G5": "tests/test_download.py",
    "G6": "no archive is unpacked: an .npz is read member by member, by name (tests/test_read.py)",
    "G7": "tests/test_download.py",
}
# Interrupts, the disk, checkpoints: fault -> the bug it would catch, and the tests of its behaviour.
SURVIVAL = {
    "F1": ("Ctrl-C loses the run, or is lost itself", (
        "test_interrupts.py::test_ctrl_c_while_it_compiles_ends_with_the_first_parameters_and_a_checkpoint",
        "test_interrupts.py::test_ctrl_c_is_saved_and_goes_on",
        "test_interrupts.py::test_ctrl_c_during_the_last_save_waits_for_it",
        "test_interrupts.py::test_a_second_ctrl_c_during_the_last_save_raises_at_once_and_leaves_nothing_half_done",
        "test_interrupts.py::test_the_handlers_are_what_they_were_after_every_ending",
        "test_command.py::test_ctrl_c_while_evaluating_ends_at_once_with_130",
        "test_going_on.py::test_a_signal_that_python_could_not_raise_still_counts",
    )),
    "F2": ("SIGTERM kills the run unsaved, or never reaches the user's handler", (
        "test_interrupts.py::test_sigterm_is_handed_to_the_users_handler_once_after_the_checkpoint_is_written",
        "test_interrupts.py::test_a_program_without_a_handler_dies_of_sigterm_and_its_run_goes_on_to_the_same_bits",
        "test_going_on.py::test_a_terminated_command_of_its_own_process_exits_143_with_a_run_to_go_on_with",
    )),
    "F3": ("a kill or a power cut leaves half a file, or none", (
        "test_kills.py::test_a_run_killed_six_times_ends_at_the_bits_of_one_that_never_was",
        "test_kills.py::test_a_run_killed_a_hundred_times_ends_at_the_bits_of_one_that_never_was",
        "test_whole.py::test_a_fault_at_any_call_leaves_every_generation_that_is_to_be_kept",
        "test_whole.py::test_after_a_power_cut_at_any_instant_the_newest_and_the_best_generation_are_whole",
    )),
    "F4": ("a full disk takes the old file, or the state of the run, with it", (
        "test_whole.py::test_a_file_larger_than_allowed_is_an_error_and_the_old_ones_stay",
        "test_whole.py::test_no_handle_left_is_an_error_and_the_old_ones_stay",
        "test_whole.py::test_a_folder_that_may_not_be_written_is_an_error",
        "test_resume.py::test_a_save_that_fails_in_the_middle_ends_the_run_with_its_result_and_the_older_checkpoint",
        "test_resume.py::test_a_run_that_only_warns_of_failed_saves_ends_as_usual_and_saves_again_when_it_can",
    )),
    "F5": ("a damaged file is loaded, or one damaged file ends everything", (
        "test_checkpoint.py::test_a_changed_bit_anywhere_in_a_file_is_refused",
        "test_checkpoint.py::test_every_prefix_of_a_file_and_every_longer_file_is_refused",
        "test_generations.py::test_a_damaged_generation_is_skipped_with_a_warning_that_names_it_and_the_reason",
        "test_resume.py::test_a_damaged_checkpoint_is_skipped_with_a_warning_and_the_one_before_gives_the_same_bits",
        "test_resume.py::test_a_folder_in_which_all_is_damaged_is_no_fresh_start",
    )),
    "F6": ("another model is loaded half-way without a word", (
        "test_checkpoint.py::test_every_difference_from_the_model_is_named",
        "test_resume.py::test_every_difference_is_named_at_once",
        "test_resume.py::test_another_run_is_refused_and_the_difference_is_named",
    )),
    "F7": ("a newer format, a name that is a path, or NaN in JSON gets through", (
        "test_checkpoint.py::test_a_newer_format_is_named_and_its_file_is_not_taken_for_a_damaged_one",
        "test_checkpoint.py::test_a_header_that_lies_is_refused_by_name",
        "test_checkpoint.py::test_what_the_package_safetensors_refuses_is_refused_here",
    )),
    "F8": ("a stranger's file runs a program", (
        "test_checkpoint.py::test_a_file_that_would_run_a_program_is_refused_and_nothing_runs",
        "test_layers.py::test_a_room_imports_only_rooms_above_it",
    )),
    "F9": ("10 kB that claim 40 GB take the memory", (
        "test_checkpoint.py::test_a_small_file_that_claims_to_be_huge_is_refused_at_once_and_in_little_memory",
    )),
    "F10": ("two writers mix their files, or a reader meets half of one", (
        "test_generations.py::test_eight_processes_that_save_into_one_folder_and_read_it_see_whole_generations_only",
        "test_generations.py::test_generations_pruned_between_the_look_at_the_folder_and_the_reading_are_no_error",
        "test_going_on.py::test_while_it_runs_a_run_can_be_shown_and_used_and_nobody_else_trains_in_it",
    )),
    "F11": ("saving over the file that was read changes what is in memory", (
        "test_checkpoint.py::test_saving_onto_the_file_that_was_read_changes_nothing_in_memory",
        "test_checkpoint.py::test_a_link_to_a_file_is_read_and_replaced_by_a_file_when_it_is_saved_to",
    )),
    "F12": ("what was saved on four devices loads on four only", (
        "test_checkpoint.py::test_what_was_saved_on_four_devices_is_loaded_on_any_number_of_them",
    )),
    "F13": ("other versions or flags go on as if the bits were the same", (
        "test_resume.py::test_another_environment_warns_of_every_difference_and_goes_on",
        "test_resume.py::test_a_seed_means_the_saved_stream_where_another_kind_of_key_has_become_the_default",
    )),
    "F14": ("a save in the background sees what happens to the arrays later", (
        "test_generations.py::test_what_happens_to_a_tree_after_start_changes_nothing_in_the_file",
        "test_resume.py::test_a_save_under_way_does_not_see_the_steps_taken_meanwhile",
    )),
}  # fmt: skip
COVERED = set()  # filled by `behaves`


def behaves(name, bug):
    """Say which fault the right behaviour of a test answers, and which bug it would catch."""
    del bug  # for the reader
    COVERED.add(name)
    return lambda test: test


# ----------------------------------------------------------------------------------------- the verbs and good arguments

X, Y = TRAIN.x, TRAIN.y  # [20, 3] and 3 classes
STATE = small.start()
CALL = {"objective": OBJECTIVE, "optimizer": optax.adam}
RUN = {"train": TRAIN, "hold_out": HOLD_OUT, "plan": PLAN}


class File(NamedTuple):
    """A file to be written before the call; its path is the argument."""

    name: str
    content: bytes


VERBS = {  # name: the function, arguments without a fault, and which of them takes the data
    "data.dataset": (data.dataset, {"x": X, "y": Y, "num_classes": 3}, None),
    "data.split": (data.split, {"ds": TRAIN, "fractions": (0.5, 0.5)}, "ds"),
    "data.load": (data.load, {"name": "circle"}, None),
    "data.read": (data.read, {"source": File("t.csv", b"a,y\n1,0\n2,1\n"), "label": "y"}, None),
    "Mlp": (jaxnn.Mlp, {"sizes": (3, 4, 3)}, None),
    "Mlp.init": (MODEL.init, {"key": 0}, None),
    "Gaussian": (jaxnn.Gaussian, {"scale": 1.0}, None),
    "LogLikelihood": (LogLikelihood, {"model": MODEL, "likelihood": jaxnn.categorical}, None),
    "objective": (jax.jit(OBJECTIVE.__call__), {"params": PARAMS, "batch": TRAIN}, "batch"),
    "MiniBatch": (MiniBatch, {"size": 8}, None),
    "MiniBatch.indices": (PLAN.indices, {"key": jax.random.key(0), "epoch": 0, "step": 0, "num_examples": 20}, None),
    "init_state": (jaxnn.init_state, CALL | {"params": PARAMS, "key": 0, "learning_rate": 0.1}, None),
    "ascent_step": (jaxnn.ascent_step, CALL | {"state": STATE, "batch": TRAIN}, "batch"),
    "ascend": (jaxnn.ascend, CALL | RUN | {"state": STATE, "num_epochs": 2}, "train"),
    "fit": (jaxnn.fit, CALL | RUN | {"params": PARAMS, "max_epochs": 2, "learning_rate": 0.1}, "train"),
    "evaluate": (jaxnn.evaluate, {"objective": OBJECTIVE, "params": PARAMS, "data": TRAIN}, "data"),
    "predict": (jaxnn.predict, {"objective": OBJECTIVE, "params": PARAMS, "x": X}, "x"),
    "predict_proba": (jaxnn.predict_proba, {"objective": OBJECTIVE, "params": PARAMS, "x": X}, "x"),
}
LEARNING = "fit ascend evaluate"  # read labels and look at every value
READING = LEARNING + " predict predict_proba"
STARTING = "fit init_state"


def x_with(value, i=2, j=1):
    """The features with one cell changed."""
    x = np.array(X)
    x[i, j] = value
    return x


def y_with(value, i=4, dtype=None):
    """The labels with one changed."""
    y = np.array(Y, dtype)
    y[i] = value
    return y


def weights(*first, dtype=np.float32):
    """Weights of 1, but for the first."""
    return np.concatenate([np.array(first, dtype), np.ones(20 - len(first), dtype)])


def batch(**changed):
    """The training data with something changed."""
    return {"batch": TRAIN._replace(**changed)}


def params_with(bias):
    """The parameters with another first bias."""
    return {"params": (PARAMS[0]._replace(bias=bias), PARAMS[1])}


def idx(*shape, magic=b"\0\0\x08", tail=b""):
    """An IDX file of zeros, and bytes behind it."""
    return magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(int(np.prod(shape))) + tail


def csv(text):
    return {"source": File("t.csv", text.encode() if isinstance(text, str) else text)}


def parquet(**columns):
    """A table of these columns as a file, beside a label."""
    out = io.BytesIO()
    pa.parquet.write_table(pa.table(columns | {"y": [0, 1]}), out)
    return {"source": File("t.parquet", out.getvalue())}


# Every kind of NumPy dtype but integers, unsigned integers and floats.
NO_NUMBERS = {
    "b": np.ones((20, 3), bool),
    "c": X.astype(complex),
    "S": X.astype("S"),
    "U": X.astype("U"),
    "O": X.astype(object),
    "V": np.zeros((20, 3), "V4"),
    "M": X.astype("M8[s]"),
    "m": X.astype("m8[s]"),
    "T": X.astype("U").astype(np.dtypes.StringDType()),
}
CLASSES_4 = data.dataset(X, Y, num_classes=4)
ONE_HOT = np.eye(3, dtype=np.int32)[Y]
ONE_OUTPUT = LogLikelihood(jaxnn.Linear(3, 1), jaxnn.categorical)
OTHER_SIZE = jaxnn.Mlp((3, 5, 3))
OTHER_ADAM = jaxnn.init_state(
    LogLikelihood(OTHER_SIZE, jaxnn.categorical), optax.adam, OTHER_SIZE.init(0), learning_rate=0.1
).opt_state
BAD_CELLS = [  # one NaN or infinity at a random place
    (value, int(i), int(j))
    for value, i, j in zip(
        (np.nan, np.inf, -np.inf), *(np.random.default_rng(3).integers(0, n, 3) for n in (20, 3)), strict=True
    )
]


# ------------------------------------------------------------------------------------------------------ what is refused


class Row(NamedTuple):
    fault: str
    bug: str  # what would slip through
    verbs: str
    given: dict  # the arguments at fault; "batch" stands for the one that takes the data
    error: type
    text: str  # the message after "who: "; "..." stands for anything


LABEL = "labels lie in [0, 3); got y[{}]={}; renumber the labels from 0, or raise num_classes"
DOOR_LABEL = (
    "labels are whole numbers in [0, 3); got y[{}]={}; renumber them from 0 or raise num_classes; for -1 and +1 pass "
    "labels='pm1'"
)
PAIR = "x and y have one row an example; got x.shape=(20, 3), y.shape={}; make the first axes equal"
COLUMN = "y is one label an example; got y.shape={}; pass shape (20,)"
ONE_HOT_ROW = "y is one label an example; got y.shape=(20, 3); use y.argmax(axis=1) on one-hot rows"
READS = "the model reads D=3 features; got x.shape={}; pass x of shape [N, 3], or build the model for ..."
ROWS = "x is [N, D], one row an example; got x.shape={}; use x.reshape(len(x), -1), which also flattens images"
CELL = "x is finite; got x[{}, {}]={}; drop the row or fill the value first"
WHOLE = "{0} is a whole number >= {1}; got {0}={2}; pass an int, {1} or more"
NUMBER = "{0} is a finite number >= 0; got {0}={1}; pass such a number"
SINGLE = "{0} is finite in float32, too; got {0}={1}; pass a smaller one"
KEY = "key is an int seed or a typed key; got key={}; pass 0, or jax.random.key(0)"
SEED = "a seed lies in [0, 2**32); got key={}; pass one of these: others would wrap"
EMPTY = "there is at least one example; got x.shape=(0, 3); pass some rows"
TREE = "parameters fit the model; got {}; build them with model.init(key)"
NO_MEAN = "weights sum to a number that can be divided by; got a sum of {}, the largest ...; scale them: only their ..."

ROWS_OF_A = [
    Row("A1", "one example without an axis", "data.dataset", {"x": X[0]}, ShapeError, ROWS.format("(3,)")),
    Row("A1", "images not flattened", "data.dataset", {"x": X[:, :, None]}, ShapeError, ROWS.format("(20, 3, 1)")),
    Row("A1", "labels of another split", "data.dataset", {"y": Y[:19]}, ShapeError, PAIR.format("(19,)")),
    Row("A1", "labels of another split", LEARNING + " ascent_step", batch(y=Y[:19]), ShapeError, PAIR.format("(19,)")),
    Row("A1", "one row broadcast to all", READING + " ascent_step", batch(x=X[0]), ShapeError, READS.format("(3,)")),
    Row("A1", "images to a model of rows", READING, batch(x=X[:, :, None]), ShapeError, READS.format("(20, 3, 1)")),
    Row("A1", "a column left out", READING + " ascent_step", batch(x=X[:, 1:]), ShapeError, READS.format("(20, 2)")),
    Row(
        "A2", "a column broadcasts to [N, N]", "data.dataset", {"y": Y[:, None]}, ShapeError,
        "y is [N], not a column; got x.shape=(20, 3), y.shape=(20, 1); use y.ravel()",
    ),
    Row("A2", "the same in a batch", LEARNING, batch(y=Y[:, None]), ShapeError, COLUMN.format("(20, 1)")),
    Row(
        "A2", "the same in a step", "ascent_step", batch(y=Y[:, None]), ShapeError,
        "y is one number an example, its class; got shape (1,) for one; pass y of shape [N] for classes",
    ),
    Row("A3", "a model without outputs", "Mlp", {"sizes": (3, 0)}, ConfigError, WHOLE.format("sizes[1]", 1, 0)),
    Row("A3", "no class", "data.dataset", {"num_classes": 0}, ConfigError, WHOLE.format("num_classes", 2, 0)),
    Row(
        "A3", "one class: log 1 = 0, always", "data.dataset", {"num_classes": 1, "y": Y * 0}, ConfigError,
        WHOLE.format("num_classes", 2, 1),
    ),
    Row(
        "A3", "a softmax over one output", "fit evaluate",
        {"objective": ONE_OUTPUT, "params": ONE_OUTPUT.model.init(0)},
        ConfigError,
        "there are at least two classes; got num_outputs=1; end sizes with the number of classes, or use ...",
    ),
    *[
        row
        for kind, values in NO_NUMBERS.items()
        for row in (
            Row(
                "A5", f"x of kind {kind}", "data.dataset", {"x": values}, DtypeError,
                "x holds integers or floats; got x=...; encode it as numbers first, e.g. with .astype('float32')",
            ),
            Row(
                "A5", f"x of kind {kind}", READING + " ascent_step", batch(x=values), DtypeError,
                "x holds numbers; got x.dtype=...; convert it to numbers first",
            ),
            Row(
                "A5", f"y of kind {kind}", LEARNING + " ascent_step", batch(y=values[:, 0]), DtypeError,
                "y holds numbers; got y.dtype=...; convert it to numbers first",
            ),
            Row(
                "A5", f"weights of kind {kind}", LEARNING, batch(weight=values[:, 0]), DtypeError,
                "weight holds numbers; got weight.dtype=...; convert it to numbers first",
            ),
        )
    ],
    Row(
        "A5", "a mask is lost", READING, batch(x=np.ma.masked_array(X, X > 0)), DtypeError,
        "x holds numbers; got a masked array; convert it to numbers first",
    ),
    Row(
        "A6", "float64 narrowed without a word", "data.dataset", {"dtype": "float64"}, ConfigError,
        "dtype is a floating-point type JAX computes in; got dtype='float64'; pass 'float32', or turn on ...",
    ),
    Row("A8", "label K is class K - 1", LEARNING, batch(y=y_with(3)), LabelError, LABEL.format(4, 3)),
    Row("A8", "label -1 is the last class", LEARNING, batch(y=y_with(-1)), LabelError, LABEL.format(4, -1)),
    Row("A8", "label K is class K - 1", "data.dataset", {"y": y_with(3)}, LabelError, DOOR_LABEL.format(4, 3)),
    Row("A8", "label -1 is the last class", "data.dataset", {"y": y_with(-1)}, LabelError, DOOR_LABEL.format(4, -1)),
    Row(
        "A8", "2**32 wraps to class 0", "data.dataset", {"y": y_with(2**32, dtype=np.int64)}, LabelError,
        DOOR_LABEL.format(4, 2**32),
    ),
    Row(
        "A8", "2**32 wraps to class 0", LEARNING + " ascent_step", batch(y=y_with(2**32, dtype=np.int64)), DtypeError,
        "integers fit in 32 bits; got y[4]=4294967296; renumber them",
    ),
    Row("A8", "the hold-out is not looked at", "fit ascend", {"hold_out": TRAIN._replace(y=y_with(3))}, LabelError,
        LABEL.format(4, 3)),
    *[
        row
        for what, y in {
            "legal": ONE_HOT, "an illegal label's row of zeros": ONE_HOT * (Y > 0)[:, None],
            "rows that sum to 3": 3.0 * ONE_HOT, "negative": -ONE_HOT,
        }.items()
        for row in (
            Row("A9", f"one-hot labels: {what}", "data.dataset", {"y": y}, ShapeError, ONE_HOT_ROW),
            Row("A9", f"one-hot labels: {what}", LEARNING, batch(y=y), ShapeError, COLUMN.format("(20, 3)")),
        )
    ],
    Row("A10", "0.5 is cut to class 0", "data.dataset", {"y": y_with(0.5, dtype=float)}, LabelError,
        DOOR_LABEL.format(4, 0.5)),
    Row(
        "A10", "words numbered by chance", "data.dataset", {"y": list("abca" * 5)}, DtypeError,
        "labels are integers; got y.dtype=<U1; number text labels with names, y = np.unique(y, return_inverse=True) "
        "and pass class_names=names",
    ),
    Row(
        "A10", "targets taken for labels", LEARNING + " ascent_step", batch(y=Y + 0.5), DtypeError,
        "y holds integer labels; got y.dtype=float32; cast with y.astype('int32')",
    ),
    Row(
        "A10", "a word that is no class of the model", "data.read",
        csv("a,y\n1,cat\n2,dog\n") | {"class_names": ("ant", "cat")}, LabelError,
        "labels are among the 2 class_names; got 'dog' in 'y' at line 3...; ...",
    ),
    Row(
        "A11", "-1 and +1 guessed", "data.dataset", {"y": 2 * (Y > 0) - 1, "num_classes": 2}, LabelError,
        "labels are whole numbers in [0, 2); got y[...]=-1; ...; for -1 and +1 pass labels='pm1'",
    ),
    Row(
        "A11", "0 mixed into -1 and +1", "data.dataset", {"y": Y % 2, "labels": "pm1", "num_classes": 2}, LabelError,
        "labels='pm1' are exactly -1 and +1; got y[...]=0; use labels='index' for [0, K)",
    ),
    Row("A11", "-1 in a batch", LEARNING, batch(y=y_with(-1)), LabelError, LABEL.format(4, -1)),
    Row(
        "A12", "a class the model has no output for", LEARNING, {"batch": CLASSES_4}, ConfigError,
        "the model tells apart all classes of the data; got 3 classes for data with 4; give the model 4 outputs",
    ),
]  # fmt: skip

# B1: there is no nan_policy="allow". Rows of weight 0 may hold anything, and that is how to opt in (B7).
ROWS_OF_B = [
    *[
        row
        for value, i, j in BAD_CELLS
        for row in (
            Row("B1", f"{value} in one cell", "data.dataset", {"x": x_with(value, i, j)}, NonFiniteError,
                CELL.format(i, j, value)),
            Row("B1", f"{value} in one cell", READING, batch(x=x_with(value, i, j)), NonFiniteError,
                CELL.format(i, j, value)),
            Row("B1", f"{value} in the hold-out", "fit ascend", {"hold_out": TRAIN._replace(x=x_with(value, i, j))},
                NonFiniteError, CELL.format(i, j, value)),
            Row("B1", f"{value} as a weight", LEARNING, batch(weight=weights(1, value)), NonFiniteError,
                f"weights are finite; got weight[1]={value}; remove or repair that row"),
        )
    ],
    Row("B1", "NaN under another row's weight of 0", LEARNING, batch(x=x_with(np.nan), weight=weights(0)),
        NonFiniteError, CELL.format(2, 1, "nan")),
    Row("B1", "a run from NaN", STARTING + " evaluate predict", {"params": jax.tree.map(lambda p: p * np.nan, PARAMS)},
        NonFiniteError, "params.0.kernel is finite; got params.0.kernel[0, 0]=nan; start from finite parameters"),
    Row("B2", "a mean over nothing", LEARNING + " ascent_step data.split", {"batch": Batch(X[:0], Y[:0])}, ShapeError,
        EMPTY),
    Row("B2", "a mean over nothing", "data.dataset", {"x": X[:0], "y": Y[:0]}, ShapeError, EMPTY),
    Row("B2", "NaN, which travels", "objective", {"batch": Batch(X[:0], Y[:0])}, ShapeError,
        "a mean is over one example or more; got N=0; leave the empty batch out"),
    Row("B2", "a file of names alone", "data.read", csv("a,y\n"), DataFormatError,
        "there is at least one row; got none...; ..."),
    Row("B3", "a hold-out without rows", "data.split", {"batch": Batch(X[:1], Y[:1])}, ConfigError,
        "every part has an example; got 1 examples in parts of [1, 0]; use larger fractions or more examples"),
    Row("B6", "float64 becomes infinite", "data.dataset", {"x": X.astype(float) * 1e100}, NonFiniteError,
        "x as float32 is finite; got x as float32[0, 0]=...inf; drop the row or fill the value first"),
    Row("B6", "float64 becomes infinite", READING, batch(x=X.astype(float) * 1e100), NonFiniteError,
        "x is finite; got x[0, 0]=...inf; drop the row or fill the value first"),
    Row("B7", "learning to be wrong", LEARNING, batch(weight=weights(1, -1)), ConfigError,
        "weights are not negative; got weight[1]=-1.0; use 0 for an absent row"),
    Row("B7", "learning to be wrong", "data.dataset", {"weight": weights(1, -1)}, ConfigError,
        "weights are not negative; got weight[1]=-1.0; use 0 for an absent row"),
    Row("B7", "0 / 0", LEARNING, batch(weight=weights(*[0] * 20)), ConfigError,
        "some weight is positive; got all 20 weights 0; give some row a weight"),
    Row("B7", "a column broadcasts to [N, N]", LEARNING, batch(weight=np.ones((20, 1))), ShapeError,
        "weight is one number an example; got weight.shape=(20, 1), N=20; pass shape (20,)"),
    Row("B7", "inf / inf", LEARNING, batch(weight=np.full(20, 3e38, np.float32)), ConfigError, NO_MEAN.format("6e+39")),
    Row("C7", "0 / 0: XLA flushes the sum", LEARNING, batch(weight=np.full(20, 1e-40, np.float32)), ConfigError,
        NO_MEAN.format("2e-39")),
    Row("C7", "1 / 0: XLA flushes the width", "Gaussian", {"scale": 1e-39}, ConfigError,
        "scale is a finite number > 0, in float32, too; got scale=1e-39; pass such a number"),
    Row("C8", "seeds s and s + 2**32 are one run", STARTING + " Mlp.init MiniBatch.indices", {"key": 2**32},
        ConfigError, SEED.format(2**32)),
    Row("C8", "a negative seed wraps", STARTING + " Mlp.init MiniBatch.indices", {"key": -1}, ConfigError,
        SEED.format(-1)),
    Row("C8", "a negative seed wraps", "data.split data.load", {"seed": -1}, ConfigError, WHOLE.format("seed", 0, -1)),
    *[
        Row("C8", f"{name}={count}: JAX's OverflowError, or a silent wrap", "MiniBatch.indices", {name: count},
            ConfigError, text)
        for name in ("epoch", "step")
        for count, text in (
            (2**32, f"{name} is at most 2,147,483,647; got {name}=4,294,967,296; pass a smaller one"),
            (2**31, f"{name} is at most 2,147,483,647; got {name}=2,147,483,648; pass a smaller one"),
            (-1, WHOLE.format(name, 0, -1)),
            (0.5, WHOLE.format(name, 0, 0.5)),
        )
    ],
    Row("C8", "a remainder by 0", "MiniBatch.indices", {"num_examples": 0}, ConfigError,
        WHOLE.format("num_examples", 1, 0)),
]  # fmt: skip

ROWS_OF_D = [
    *[
        Row("D1", f"a batch of {size!r}", "MiniBatch", {"size": size}, ConfigError, WHOLE.format("size", 1, repr(size)))
        for size in (0, -1, 32.0, 2.5, True, "32", None)
    ],
    *[
        Row("D1", f"a chunk of {size!r}", "evaluate predict predict_proba", {"chunk_size": size}, ConfigError,
            WHOLE.format("chunk_size", 1, repr(size)))
        for size in (0, -1, 2.5, True)
    ],
    *[
        Row("D4", f"a rate of {rate!r}", STARTING, {"learning_rate": rate}, ConfigError,
            NUMBER.format("learning_rate", repr(rate)))
        for rate in (-0.1, np.nan, np.inf, True, "0.1", 1j)
    ],
    Row("D4", "a rate that is infinite in float32", STARTING, {"learning_rate": 1e39}, ConfigError,
        SINGLE.format("learning_rate", "1e+39")),
    Row("D4", "climbing down", "ascend fit", {"state": STATE._replace(learning_rate=jnp.float32(-1))}, ConfigError,
        "state.learning_rate is a finite number >= 0; got state.learning_rate=Array(-1., dtype=float32); pass ..."),
    *[
        Row("D5", f"{epochs!r} epochs", verb, {name: epochs}, ConfigError, text.format(name, 0, repr(epochs)))
        for verb, name in (("fit", "max_epochs"), ("ascend", "num_epochs"))
        for epochs, text in ((-1, WHOLE), (2.5, WHOLE), (True, WHOLE),
                             (2**40, "{0} is at most 1,000,000; got {0}=1,099,511,627,776; pass a smaller one"))
    ],
    *[
        Row("D5", f"a patience of {patience!r}", "fit ascend", {"patience": patience}, ConfigError,
            WHOLE.format("patience", 1, repr(patience)))
        for patience in (0, -1, 1.5, True)
    ],
    Row("D5", "a patience that means nothing, unseen without a hold-out", "fit", {"patience": 0, "hold_out": None},
        ConfigError, WHOLE.format("patience", 1, 0)),
    Row("D5", "a patience that never acts", "ascend", {"patience": 3, "hold_out": None}, ConfigError,
        "patience watches a hold-out; got patience=3 and hold_out=None; split one off with jaxnn.data.split, or ..."),
    *[
        Row("D5", f"a gain of {gain}", "fit ascend", {"min_delta": gain}, ConfigError, NUMBER.format("min_delta", gain))
        for gain in (np.nan, -1, np.inf)
    ],
    Row("D5", "a gain that is infinite in float32", "fit ascend", {"min_delta": 1e300}, ConfigError,
        SINGLE.format("min_delta", "1e+300")),
    *[
        Row("D5", f"parts of {parts}", "data.split", {"fractions": parts}, ConfigError,
            f"fractions lie in (0, 1) and sum to 1; got fractions={parts}; pass e.g. (0.8, 0.2)")
        for parts in ((1.0, 0.0), (0.0, 1.0), (1.0,), (0.5, np.nan), (1.5, -0.5), (0.7, 0.2))
    ],
    Row("D6", "a misspelt monitor", "fit ascend", {"monitor": "acuracy"}, ConfigError,
        "monitor is one of log_likelihood, accuracy; got monitor='acuracy'; did you mean 'accuracy'?"),
    Row("D6", "a misspelt aggregate", "fit ascend ascent_step", {"aggregate": "maen"}, ConfigError,
        "aggregate is one of mean, sum; got aggregate='maen'; did you mean 'mean'?"),
    Row("D6", "a misspelt spelling of labels", "data.dataset", {"labels": "pm"}, ConfigError,
        "labels is one of index, pm1; got labels='pm'; did you mean 'pm1'?"),
    Row("D6", "a misspelt data set", "data.load", {"name": "digts"}, ConfigError,
        "name is a known data set; got name='digts'; did you mean 'digits'?"),
    Row("D6", "a misspelt option of a data set", "data.load", {"nois": 0.1}, ConfigError,
        "'circle' takes num_examples, noise, seed; got nois=0.1; did you mean 'noise'?"),
    Row("D6", "a misspelt column", "data.read", {"label": "yy"}, ConfigError,
        "label is a column of ...; got label='yy'; did you mean 'y'?"),
    *[
        Row("D6", f"a plan that is a {type(plan).__name__}", "fit ascend", {"plan": plan}, ConfigError,
            "plan says which examples a step reads; got plan=...; pass jaxnn.MiniBatch(32), FullBatch() or ...")
        for plan in (32, "mini-batch", MiniBatch, None)
    ],
    Row("D6", "an optimiser by name", STARTING + " ascend ascent_step", {"optimizer": "adam"}, ConfigError,
        "optimizer is an optax transformation or a factory of one; got optimizer='adam'; pass optax.sgd with ..."),
    Row("D6", "a model for an objective", STARTING + " ascend ascent_step evaluate predict", {"objective": MODEL},
        ConfigError, "objective is a log likelihood; got objective=Mlp; pass jaxnn.LogLikelihood(model, ..."),
    Row("D6", "a likelihood by name", "LogLikelihood", {"likelihood": "softmax"}, ConfigError,
        "likelihood is a value; got likelihood='softmax'; pass jaxnn.categorical, say"),
    Row("D6", "a pair for a batch", LEARNING + " ascent_step", {"batch": (X, Y)}, ConfigError,
        "data is a Dataset or a Batch; got tuple; pass jaxnn.data.dataset(x, y, num_classes=K) or jaxnn.Batch(x, y)"),
    Row("D6", "parameters for a state", "ascend ascent_step", {"state": PARAMS}, ConfigError,
        "state comes from init_state; got tuple; call jaxnn.init_state first"),
    Row("D6", "an AttributeError from inside", "fit", {"state": PARAMS}, ConfigError,
        "state comes from init_state; got tuple; call jaxnn.init_state first"),
    Row("D6", "any text is true", "fit", {"progress": "no"}, ConfigError,
        "progress is True, False, None or a function; got progress='no'; pass True to see a line"),
    Row("D6", "a penalty that is infinite in float32", "LogLikelihood", {"l2": 1e300}, ConfigError,
        SINGLE.format("l2", "1e+300")),
    *[
        Row("D7", f"a key that is {what}", STARTING + " Mlp.init MiniBatch.indices", {"key": key}, ConfigError,
            KEY.format(got))
        for what, key, got in (
            # design: keys are typed; a legacy key is an array like any other, and is not guessed to be one
            ("raw bits", jax.random.PRNGKey(0), "ArrayImpl[2] of uint32"),
            ("NumPy's", np.zeros(2, np.uint32), "ndarray[2] of uint32"),
            ("half a seed", 0.5, "0.5"), ("True, and so seed 1", True, "True"), ("missing", None, "None"),
        )
    ],
    Row("D7", "a batch of keys draws a batch of orders", STARTING + " Mlp.init MiniBatch.indices",
        {"key": jax.random.split(jax.random.key(0), 3)}, ShapeError,
        "key is a single key; got key.shape=(3,); pass one of them, or use jax.vmap"),
    Row("D8", "a layer left out", STARTING + " evaluate predict", {"params": PARAMS[:1]}, ShapeError,
        TREE.format("[1].kernel missing; [1].bias missing")),
    Row("D8", "a layer too many", STARTING + " evaluate predict", {"params": (*PARAMS, PARAMS[1])}, ShapeError,
        TREE.format("[2].kernel not expected; [2].bias not expected")),
    Row("D8", "None, which JAX takes for no leaf", STARTING + " evaluate predict", params_with(None), ShapeError,
        TREE.format("[0].bias missing")),
    Row("D8", "a Python number, which retraces", STARTING + " evaluate predict", params_with(0.0), DtypeError,
        "every parameter is a floating-point array; got 0.bias of type float; use jnp.asarray(value, 'float32')"),
    Row("D8", "integers, which have no gradient", STARTING + " evaluate predict", params_with(np.zeros(4, int)),
        DtypeError, "every parameter is a floating-point array; got 0.bias of type int64; use jnp.asarray(value, ..."),
    Row("D8", "a bias that broadcasts", STARTING + " evaluate predict", params_with(np.float32(0)), ShapeError,
        TREE.format("[0].bias has shape (), not (4,)")),
    Row("D8", "no parameters", STARTING + " evaluate predict", {"params": None}, ShapeError,
        "there are parameters; got params=None; build them with model.init(key)"),
    Row("D8", "the momentum of another model", "ascend fit",
        {"state": STATE._replace(opt_state=OTHER_ADAM)}, ConfigError,
        "state.opt_state belongs to state.params; got opt_state[0].mu[0].kernel of shape (3, 5), not (3, 4); pass ..."),
    Row("D8", "the state of another optimiser", "ascend ascent_step", {"optimizer": optax.sgd}, ConfigError,
        "state and optimizer belong together; got optimizer=sgd for the state of another; pass the one given ..."),
]  # fmt: skip

IMAGES, LABELS = idx(2, 2, 2), File("labels", idx(2))


def images(content, label=LABELS):
    return {"source": File("t.idx", content), "label": label}


ROWS_OF_G = [  # a row or two of each: test_read.py has them all
    Row("G1", "any bytes are an image", "data.read", images(b"GIF8" + IMAGES[4:]), DataFormatError,
        "...; got ... at byte 0; ..."),
    Row("G1", "floats are read as bytes", "data.read", images(idx(2, 2, 2, magic=b"\0\0\x0d")), DataFormatError,
        "...; got ... at byte 0; ..."),
    Row("G1", "missing pixels are 0", "data.read", images(IMAGES[:-1]), DataFormatError,
        "...; got 7, ... at byte 23; ..."),
    Row("G1", "what follows is not seen", "data.read", images(IMAGES + b"\0"), DataFormatError,
        "...; got more, ... at byte 24; ..."),
    Row("G1", "a product of sizes overflows", "data.read",
        images(b"\0\0\x08\3" + struct.pack(">3I", 2**31, 2**31, 4)), DataFormatError, "...; got ...; ..."),
    Row("G1", "labels of other images", "data.read", images(IMAGES, File("labels", idx(3))), DataFormatError,
        "...; got 3 for 2, ...; ..."),
    Row("G2", "a short row is filled up", "data.read", csv("a,b,y\n1,2,0\n1,0\n"), DataFormatError,
        "...; got 2 cells for 3 columns on line 3 of ...; ..."),
    Row("G2", "an empty cell is NaN", "data.read", csv("a,y\n1,0\n,1\n"), DataFormatError,
        "...; got '' ...line 3...; ..."),
    Row("G2", "NA is NaN", "data.read", csv("a,y\n1,0\nNA,1\n"), DataFormatError, "...; got 'NA' ...line 3...; ..."),
    Row("G2", "an infinity is a number", "data.read", csv("a,y\n1,0\ninf,1\n"), NonFiniteError,
        "...; got inf ...line 3...; ..."),
    Row("G2", "a decimal comma splits a number", "data.read", csv('a,y\n1,0\n"1,5",1\n'), DataFormatError,
        "...; got '1,5' ...line 3...; ..."),
    Row("G2", "the first example is taken for names", "data.read", csv("1,0\n2,1\n") | {"label": 1}, ConfigError,
        "...; got the numbers '1,0', ...; pass header=False ..."),
    Row("G2", "Latin-1 is guessed", "data.read", csv(b"a,y\n1,u\n2,\xe9\n"), DataFormatError,
        "...; got ...line 3...; ..."),
    Row("G3", "a null is 0", "data.read", parquet(a=[1, None]), DataFormatError, "...; got ...; ..."),
    Row("G3", "a nested column is cut", "data.read", parquet(a=[[1.0], [2.0]]), DataFormatError,
        "...; got ...'a' of type list...; ..."),
    Row("G3", "text becomes a category", "data.read", parquet(a=["u", "v"]), DataFormatError,
        "...; got ...'a' of type string...; ..."),
    Row("G3", "CSV by another name", "data.read", {"source": File("t.parquet", b"a,y\n1,0\n")}, DataFormatError,
        "...; got ...; ..."),
]  # fmt: skip

TABLE = ROWS_OF_A + ROWS_OF_B + ROWS_OF_D + ROWS_OF_G


def arguments(row, verb):
    """Return the arguments of a verb with those of the row in place."""
    _, good, takes_data = VERBS[verb]
    given = {takes_data if name == "batch" else name: value for name, value in row.given.items()}
    own_rate = {"learning_rate": None} if verb == "fit" and "state" in given else {}  # a state has its rate
    return good | own_rate | given


def written(given, folder):
    """Return the arguments with every file written and its path in place."""

    def path_of(value):
        if not isinstance(value, File):
            return value
        (folder / value.name).write_bytes(value.content)
        return folder / value.name

    return {name: path_of(value) for name, value in given.items()}


def pattern(verb, text):
    """Return the whole message as a regular expression; whatever stands for "..."."""
    who = re.escape(verb)
    if verb == "objective":
        who = "log likelihood"
    elif verb == "data.read":
        who = r"data\.(read|dataset)"
    elif verb == "data.load":
        who += r"(\('circle'\))?"
    return rf"(?s){who}( \(hold-out\))?: " + re.escape(text).replace(re.escape("..."), ".*")


@pytest.fixture(scope="module")
def nothing_compiled_yet():
    """No program from an earlier test, which would run unseen; a row that is refused compiles none for the next."""
    jax.clear_caches()


CASES = [(row, verb) for row in TABLE for verb in row.verbs.split()]


@pytest.mark.parametrize("row, verb", CASES, ids=[f"{row.fault} {verb}: {row.bug}" for row, verb in CASES])
def test_a_fault_is_named_before_anything_is_done(nothing_compiled_yet, wrong_types, tmp_path, monkeypatch, row, verb):
    monkeypatch.chdir(tmp_path)
    given = written(arguments(row, verb), tmp_path)
    error, found = side_effects(lambda: VERBS[verb][0](**given), given)
    assert type(error) is row.error, error
    assert re.fullmatch(pattern(verb, row.text), str(error)), error
    assert found == []


@behaves("E10", "an argument is written to or donated, a global setting stays changed")
@pytest.mark.parametrize("verb", VERBS)
def test_the_same_call_without_a_fault_is_accepted_and_changes_nothing(tmp_path, verb):
    given = written(VERBS[verb][1], tmp_path)
    outcome, found = side_effects(lambda: VERBS[verb][0](**given), given)
    assert not isinstance(outcome, Exception), outcome
    assert [line for line in found if line.startswith("changed")] == []


def test_every_row_has_a_rule_what_was_given_and_what_to_do():
    for row in TABLE:
        assert re.fullmatch(r"[^;]+; got [^;]+; .+", row.text), row.text
        assert row.fault in FAULTS and row.bug, row


def test_every_kind_of_number_that_is_none_has_its_rows():
    kinds = {np.dtype(code).kind for code in np.typecodes["All"]} | {"T"}  # T: text of any length, NumPy 2
    assert kinds - set("iuf") == set(NO_NUMBERS)


def test_every_fault_is_here_or_says_where_it_is():
    here = {row.fault for row in TABLE} | COVERED | set(SURVIVAL)
    assert here | set(ABSENT) == FAULTS and not here & set(ABSENT)


@pytest.mark.parametrize("fault", SURVIVAL)
def test_the_tests_of_survival_are_there(fault):
    for place in SURVIVAL[fault][1]:
        file, _, name = place.partition("::")
        assert f"\ndef {name}(" in (pathlib.Path(__file__).parent / file).read_text(), place


# -------------------------------------------------------------------------------- what is no error, and what it then is


def softmax_log_probs(params, x, y):
    """log P(y | x; w) of the small network, in NumPy and float64."""
    (w1, b1), (w2, b2) = [[np.asarray(a, np.float64) for a in layer] for layer in params]
    z = np.tanh(np.asarray(x, np.float64) @ w1 + b1) @ w2 + b2
    return z[np.arange(len(z)), y] - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) - z.max(1)


def on_a_line(z):
    """A one-output model's log likelihood of two classes, of so many features."""
    return LogLikelihood(jaxnn.Linear(z, 1), jaxnn.bernoulli)


def climb(x, y, *, epochs, rate, **options):
    """Batch gradient ascent of logistic regression: one program for every 20 examples of 2 features."""
    objective = on_a_line(2)
    options = {"plan": jaxnn.FullBatch(), "max_epochs": epochs, "learning_rate": rate} | options
    return jaxnn.fit(objective, optax.sgd, objective.model.init(0), Batch(x, y), **options)


def quadratic(w, x, y):
    return -((w - x) ** 2) / 2


MEAN = jaxnn.from_function(quadratic)
MEAN_OF_2 = jaxnn.from_function(quadratic, num_classes=2)


def towards(x, rate, plan, key=0):
    """Two epochs of ascent from 0 towards the mean of x: the smallest program there is."""
    state = jaxnn.init_state(MEAN, optax.sgd, jnp.zeros(()), key, learning_rate=rate)
    return jaxnn.ascend(MEAN, optax.sgd, state, Batch(x, np.zeros_like(x)), plan, 2)


@behaves("A2", "[N, 1] - [N] is [N, N]")
def test_there_is_one_log_probability_an_example_whatever_axes_y_has():
    log_probs = jax.eval_shape(jax.vmap(OBJECTIVE.per_example, (None, 0, 0)), PARAMS, X, Y)
    assert log_probs.shape == (20,)
    real = LogLikelihood(jaxnn.Linear(3, 1), jaxnn.gaussian)
    flat, column = (jaxnn.evaluate(real, real.model.init(0), Batch(X, y)) for y in (X[:, 0], X[:, :1]))
    want = np.mean(-0.5 * X[:, 0].astype(float) ** 2 - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose([flat.log_likelihood, column.log_likelihood], want, rtol=1e-6)


@behaves("A3", "a model without features is refused, or divides by 0")
def test_without_features_a_fit_finds_the_frequency_of_every_class():
    objective = LogLikelihood(jaxnn.Linear(0, 3), jaxnn.categorical)
    none = np.zeros((20, 0), np.float32)
    state = jaxnn.init_state(objective, optax.sgd, objective.model.init(0), learning_rate=2.0)
    run = jax.jit(lambda state: jaxnn.ascend(objective, optax.sgd, state, Batch(none, Y), jaxnn.FullBatch(), 60)[0])
    params = run(state).params
    frequency = np.bincount(Y, minlength=3) / 20
    np.testing.assert_allclose(jaxnn.predict_proba(objective, params, none[:1])[0], frequency, rtol=1e-5)
    found = jaxnn.evaluate(objective, params, Batch(none, Y)).log_likelihood
    np.testing.assert_allclose(found, frequency @ np.log(frequency), rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jaxnn.Mlp((0, 4, 3)).init(1)))


@behaves("A4", "255 + 1 is 0")
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i8", ">i4"])
def test_integers_are_cast_once_and_never_wrap(dtype):
    x = np.array([[100, 127, 1]] * 20).astype(dtype)
    if dtype == "u1":
        x = x + np.uint8(128)  # 228, 255, 129
    exact = x.astype(np.float64)
    params = jax.tree.map(lambda p: p / 100, PARAMS)
    whole, real = (jaxnn.evaluate(OBJECTIVE, params, Batch(values, Y)).log_likelihood for values in (x, exact))
    assert whole == real
    np.testing.assert_allclose(whole, softmax_log_probs(params, exact, Y).mean(), rtol=1e-5)
    np.testing.assert_array_equal(data.dataset(x, Y, num_classes=3).batch.x, exact)


@behaves("A6", "float64 comes in and every step is promoted, or compiled anew")
def test_double_precision_data_are_cast_at_the_door_to_the_dtype_of_the_parameters():
    wide = X.astype(np.float64)
    assert data.dataset(wide, Y, num_classes=3).batch.x.dtype == jnp.float32
    runs = [small.fit(2, train=Batch(x, Y)) for x in (X, wide)]
    assert bits(runs[0].state) == bits(runs[1].state)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(runs[1].params)} == {"float32"}
    assert jaxnn.predict_proba(OBJECTIVE, PARAMS, wide).dtype == jnp.float32


def layouts(folder):
    """The same numbers as every make of array."""
    mapped = np.memmap(folder / "x.bin", np.float32, "w+", shape=X.shape)
    mapped[:] = X
    read_only = X.copy()
    read_only.setflags(write=False)
    return {
        "Fortran": np.asfortranarray(X), "read-only": read_only, "memmap": mapped,
        "strided": np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3], "reversed": X[::-1, ::-1].copy()[::-1, ::-1],
        "big-endian": X.astype(">f4"), "float64": X.astype(float), "JAX": jnp.asarray(X),
    }  # fmt: skip


@behaves("A7", "memory is read in the wrong order, or written to")
@pytest.mark.parametrize("layout", ["Fortran", "read-only", "memmap", "strided", "reversed", "big-endian", "JAX"])
def test_every_make_of_array_gives_the_same_bits(tmp_path, layout):
    x = layouts(tmp_path)[layout]
    y = Y.astype(">i8") if layout == "big-endian" else Y.tolist() if layout == "strided" else Y
    want = jaxnn.evaluate(OBJECTIVE, PARAMS, TRAIN).log_prob, bits(jaxnn.predict_proba(OBJECTIVE, PARAMS, X))
    call = lambda: (  # noqa: E731
        jaxnn.evaluate(OBJECTIVE, PARAMS, Batch(x, y)).log_prob, bits(jaxnn.predict_proba(OBJECTIVE, PARAMS, x))
    )  # fmt: skip
    found, effects = side_effects(call, (x, y))
    assert found == want and not [line for line in effects if line.startswith("changed")]


@behaves("A8", "an index outside [0, K) wraps to another class where compiled code cannot raise")
@pytest.mark.parametrize("y", [-1, 3, 7, 2**31 - 1, -(2**31)])
def test_inside_a_program_a_label_that_is_no_class_gives_nan_in_value_and_gradient(y):
    value, gradient = VALUE_AND_GRADIENT(PARAMS, X[0], np.int32(y))
    assert np.isnan(value) and all(np.isnan(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.isfinite(VALUE_AND_GRADIENT(PARAMS, X[0], np.int32(2))[0])


VALUE_AND_GRADIENT = jax.jit(jax.value_and_grad(OBJECTIVE.per_example))


@behaves("A10", "whole floats refused, or words numbered in another order each time")
def test_whole_labels_of_any_dtype_are_classes_and_words_come_back(tmp_path):
    for y in ([0, 1, 1], [0.0, 1.0, 1.0], [False, True, True], np.array([0, 1, 1], np.uint8)):
        assert data.dataset(X[:3], y, num_classes=2).batch.y.tolist() == [0, 1, 1]
    words = ["dog", "ant", "dog", "cat"]
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{i},{word}\n" for i, word in enumerate(words)))
    ds = data.read(tmp_path / "t.csv", label="y")
    assert [ds.schema.class_names[k] for k in ds.batch.y.tolist()] == words


@behaves("A11", "the sign decides another class")
def test_pm1_labels_are_the_same_data_to_the_bit():
    signs, codes = data.dataset(X, 2 * (Y > 0) - 1, labels="pm1"), data.dataset(X, Y > 0, num_classes=2)
    assert bits(signs.batch) == bits(codes.batch)
    assert signs.schema.to_dict() == codes.schema.to_dict() | {"labels": "pm1"}  # so that -1 and +1 are predicted


@behaves("A12", "the number of classes follows the subset")
def test_a_class_without_examples_keeps_its_place():
    gap = np.where(Y == 1, 2, Y)
    ds = data.dataset(X, gap, num_classes=3)
    assert data.take(ds, np.flatnonzero(gap == 0)).schema.num_classes == 3
    result = small.fit(20, train=ds)  # the hold-out has examples of class 1
    p = np.asarray(jaxnn.predict_proba(OBJECTIVE, result.params, X))
    assert p.shape == (20, 3) and (p > 0).all() and np.isfinite(result.history.hold_out_log_likelihood).all()
    with pytest.warns(UserWarning, match="num_classes=3 inferred"):
        data.dataset(X, gap, num_classes="infer")


@behaves("B2", "no answer for no question")
def test_no_rows_give_empty_answers_and_a_gradient_of_exactly_0():
    none = X[:0]
    assert jaxnn.predict(OBJECTIVE, PARAMS, none).shape == (0,)
    assert jaxnn.predict_proba(OBJECTIVE, PARAMS, none).shape == (0, 3)
    total = jax.jit(jax.grad(lambda p: jnp.sum(jax.vmap(OBJECTIVE.per_example, (None, 0, 0))(p, none, Y[:0]))))
    assert bits(total(PARAMS)) == bits(jax.tree.map(jnp.zeros_like, PARAMS))


@behaves("B3", "a variance of one example, 0 / 0")
def test_one_example_is_learnt():
    x = np.array([2.0], np.float32)
    state, history = jax.jit(partial(towards, x, 0.5, MiniBatch(32)))()
    assert state.params == 1.5  # half way, and half way again
    assert history.log_likelihood.tolist() == [-2.0, -2.0, -0.5]  # as the step of each epoch saw it


@behaves("B4", "nothing says that there is nothing to learn, or weights overflow")
def test_a_single_class_is_learnt_with_a_warning():
    with pytest.warns(UserWarning, match="fit: training data show two classes or more; got only class 2 in 20 .*; "):
        train, hold_out = (data._replace(y=np.full_like(data.y, 2)) for data in (TRAIN, HOLD_OUT))
        result = small.fit(60, train=train, hold_out=hold_out, learning_rate=0.5)
    assert result.status == Status.MAX_EPOCHS and -0.01 < result.history.log_likelihood[-1] <= 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    assert (np.asarray(jaxnn.predict(OBJECTIVE, result.params, X)) == 2).all()


@behaves("B5", "convergence is claimed where there is no maximum")
def test_separable_data_climb_without_end_and_without_a_claim():
    x = np.repeat([[-1, 0], [1, 0]], 10, 0).astype(np.float32)
    runs = [climb(x, (x[:, 0] > 0).astype(np.int32), epochs=epochs, rate=10.0) for epochs in (10, 60)]
    assert all(run.status == Status.MAX_EPOCHS for run in runs)
    assert (np.diff(runs[1].history.log_likelihood) >= 0).all() and runs[1].history.log_likelihood[-1] <= 0
    norms = [np.linalg.norm(run.params[0].kernel) for run in runs]
    assert norms[0] + 0.5 < norms[1] < np.inf


@behaves("B6", "a singular system: no end, or infinities that are returned")
def test_constant_and_duplicate_columns_end_and_overflow_is_divergence_that_advises_scaling():
    y = np.repeat([0, 1], [5, 15]).astype(np.int32)
    result = climb(np.ones((20, 2), np.float32), y, epochs=60, rate=1.0)
    objective = on_a_line(2)
    np.testing.assert_allclose(jaxnn.predict_proba(objective, result.params, np.ones((1, 2)))[0, 1], 0.75)
    with pytest.warns(
        RuntimeWarning, match=r"diverged.*; try .*, or scale x, which reaches 1e\+30, with jaxnn.data.st"
    ):
        run = climb(np.full((20, 2), 1e30, np.float32), y, epochs=60, rate=1.0)
    assert run.status == Status.DIVERGED and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.params))
    assert len(run.history.epoch) < 10


ABSENT_ROWS = weights(*[0] * 5)
LEFT = slice(5, 20)


@behaves("B7", "0 * NaN is NaN")
@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e30])
def test_a_row_of_weight_0_is_a_row_removed_whatever_it_holds(garbage):
    x, y = X.copy(), Y.copy()
    x[:5], y[:5] = garbage, 99
    found = jaxnn.evaluate(OBJECTIVE, PARAMS, Batch(x, y, ABSENT_ROWS))
    assert found.weight == 15 and found.confusion.sum() == 15
    np.testing.assert_allclose(found.log_prob, softmax_log_probs(PARAMS, X[LEFT], Y[LEFT]).sum(), rtol=1e-5)


HUGE = float(np.finfo(np.float32).max) / 4


@behaves("C1", "inf - inf is NaN")
def test_every_finite_logit_has_a_finite_log_probability_and_gradient():
    logits = np.array([0.0, 1e4, -1e4, 1e30, -1e30, HUGE, -HUGE], np.float32)
    z = np.stack(np.meshgrid(logits, logits, logits), -1).reshape(-1, 3)
    categorical = jax.jit(jax.vmap(jax.value_and_grad(jaxnn.categorical.log_prob), (0, None)))
    bernoulli = jax.jit(jax.vmap(jax.value_and_grad(jaxnn.bernoulli.log_prob), (0, None)))
    for values, gradients, z_of, k in (
        *[(*categorical(z, y), z, 3) for y in range(3)], *[(*bernoulli(z[:, :1], y), z[:, :1], 2) for y in range(2)],
    ):  # fmt: skip
        values = np.asarray(values, np.float64)
        assert np.isfinite(values).all() and np.isfinite(gradients).all() and (values <= 0).all()
        assert (values >= -2 * np.abs(z_of.astype(float)).max(1) - np.log(k) - 1e-6).all()


@behaves("C2", "log of a probability that rounds to 0, and its gradient of 0")
def test_a_saturated_mistake_keeps_its_value_and_its_gradient():
    value, slope = jax.jit(jax.value_and_grad(jaxnn.bernoulli.log_prob))(jnp.array([-200.0]), 1)
    np.testing.assert_allclose(value, -200, rtol=2 * np.finfo(np.float32).eps)
    np.testing.assert_allclose(slope, [1.0])


@behaves("C3", "inf - inf in one mode of differentiation")
def test_a_class_masked_by_minus_infinity_is_absent_in_forward_and_reverse_mode():
    z = jnp.array([1.0, -jnp.inf, 2.0])
    log_prob = jaxnn.categorical.log_prob
    value, tangent, *slopes = jax.jit(
        lambda z, y: (*jax.jvp(lambda z: log_prob(z, y), (z,), (jnp.ones(3),)), jax.jacrev(log_prob)(z, y),
                      jax.jacfwd(log_prob)(z, y))
    )(z, 2)  # fmt: skip
    p = 1 / (1 + np.exp(-1.0))  # of two classes whose logits differ by 1
    np.testing.assert_allclose(value, np.log(p), rtol=1e-6)
    np.testing.assert_allclose(tangent, 0, atol=1e-6)  # p - 1 and 1 - p: all logits move alike
    for slope in slopes:
        np.testing.assert_allclose(slope, [p - 1, 0, 1 - p], rtol=1e-6)
    assert log_prob(z, 1) == -np.inf


@behaves("C4", "a mask after the function: its gradient is 0 * NaN")
def test_the_gradient_does_not_depend_on_what_absent_rows_hold():
    gradient = jax.jit(jax.grad(OBJECTIVE))

    def filled_with(garbage):
        x = X.copy()
        x[:5] = garbage
        return gradient(PARAMS, Batch(x, Y, ABSENT_ROWS))

    first, *others = map(filled_with, (0.0, np.nan, np.inf, 1e38))
    assert all(bits(other) == bits(first) for other in others)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(first))


@behaves("C5", "a bfloat16 sum stalls at 256, an average in bfloat16 forgets nothing")
def test_half_precision_is_summed_and_optimised_in_single_precision():
    objective = LogLikelihood(jaxnn.Linear(3, 3), jaxnn.categorical)
    params = jax.tree.map(lambda leaf: jnp.ones_like(leaf, jnp.bfloat16) * jnp.arange(3) / 3, objective.model.init(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    x = np.asarray(jnp.asarray(np.tile(X, (5000, 1)), jnp.bfloat16), np.float32)
    y = np.tile(Y, 5000)
    found = jaxnn.evaluate(objective, params, Batch(x, y))
    assert found.weight == 100_000
    (w, b), x64 = (np.asarray(leaf, np.float64) for leaf in params[0]), x[:20].astype(np.float64)
    z = x64 @ w + b
    exact = (z[np.arange(20), Y] - np.log(np.exp(z).sum(1))).mean()
    terms = (2 * (np.abs(x64) @ np.abs(w) + np.abs(b)).max(1) + np.log(3)).mean()
    assert abs(found.log_likelihood - exact) <= 2 * 2**-7 * terms
    # Adam's average of squared gradients: 0.001 after a gradient of 1, then 0.999 of itself a step.
    slope = jaxnn.from_function(lambda w, x, y: w * x)
    state = jaxnn.init_state(slope, optax.adam, jnp.zeros((), jnp.bfloat16), learning_rate=0.0)
    for x in (1.0, *[0.0] * 100):
        state, _ = jaxnn.ascent_step(slope, optax.adam, state, Batch(np.full(1, x, np.float32), np.zeros(1)))
    assert state.params.dtype == jnp.bfloat16 and state.opt_state[0].nu.dtype == jnp.float32
    np.testing.assert_allclose(state.opt_state[0].nu, 0.001 * 0.999**100, rtol=1e-4)


@behaves("C6", "on a GPU float32 products are made in TF32, and nobody can ask for better")
def test_the_precision_asked_for_reaches_every_product_of_a_step():
    def products():
        step = jax.jit(lambda p, b: jaxnn.ascent_step(OBJECTIVE, optax.adam, STATE._replace(params=p), b))
        return [line for line in step.lower(PARAMS, TRAIN).as_text().splitlines() if "dot_general" in line]

    plain = products()
    assert len(plain) >= 4 and sum("HIGHEST" in line for line in plain) < len(plain)  # norms always are
    with jax.default_matmul_precision("highest"):
        assert all("precision = [HIGHEST, HIGHEST]" in line for line in products())


@behaves("C7", "the log of, or a division by, what XLA has made 0")
def test_subnormal_probabilities_and_features_are_harmless():
    z = jnp.array([0.0, -100.0])
    assert jnp.exp(z)[1] < np.finfo(np.float32).tiny
    value, slope = jax.jit(jax.value_and_grad(jaxnn.categorical.log_prob))(z, 1)
    assert value == -100
    np.testing.assert_allclose(slope, [-1, 1])
    tiny = jaxnn.evaluate(OBJECTIVE, PARAMS, Batch(np.full_like(X, 1e-40), Y)).log_prob
    np.testing.assert_allclose(tiny, softmax_log_probs(PARAMS, 0 * X, Y).sum(), rtol=1e-6)


@behaves("C8", "a float32 count stalls at 2**24, a seed wraps at 2**32")
def test_long_sums_count_every_example_and_no_two_seeds_are_one():
    n = 2**20 + 3
    fair = on_a_line(1)
    found = jaxnn.evaluate(fair, fair.model.init(0), Batch(np.zeros((n, 1), np.float32), np.ones(n, np.int32)))
    assert found.weight == found.correct == n
    np.testing.assert_allclose(found.log_likelihood, np.log(0.5), rtol=1e-6)
    rows = data.dataset(np.arange(20)[:, None], Y, num_classes=3)
    first, second = (data.split(rows, (0.5, 0.5), seed=seed)[0].batch.x.tolist() for seed in (3, 3 + 2**32))
    assert first != second
    first, second = (data.load("xor", seed=seed).batch.x.tolist() for seed in (3, 3 + 2**32))
    assert first != second
    assert sorted(PLAN.indices(0, 2**31 - 1, 1, 20)[0].tolist()) != sorted(
        PLAN.indices(0, 2**31 - 2, 1, 20)[0].tolist()
    )


@behaves("D2", "a ragged batch counts as a whole one, or its rows are left out")
def test_every_row_counts_once_an_epoch_where_the_batch_does_not_divide_the_data():
    read = [PLAN.indices(0, 5, step, 20) for step in range(3)]
    present = np.concatenate([np.asarray(indices)[np.asarray(weight) > 0] for indices, weight in read])
    assert sorted(present.tolist()) == list(range(20))
    history = small.fit(1, learning_rate=0.0).history
    np.testing.assert_allclose(history.log_likelihood, softmax_log_probs(PARAMS, X, Y).mean(), rtol=1e-6)


@behaves("D3", "rows are counted that do not exist")
def test_a_batch_larger_than_the_data_is_the_data_to_the_bit():
    runs = [jax.jit(partial(towards, X[:, 0], 0.1, MiniBatch(size)))() for size in (20, 64)]
    assert bits(runs[0]) == bits(runs[1])
    indices, weight = MiniBatch(64).indices(0, 0, 0, 20)
    assert indices.shape == (20,) and weight is None


@behaves("D4", "a rate below 0, seen only inside a program, climbs down")
def test_a_rate_of_0_moves_no_bit_and_a_traced_one_that_is_none_ends_the_run_before_a_step():
    assert bits(small.fit(3, learning_rate=0.0).state.params) == bits(PARAMS)
    rates = jnp.array([0.5, -0.1, jnp.nan, jnp.inf])
    ends, histories = jax.jit(jax.vmap(lambda rate: towards(np.ones(4, np.float32), rate, jaxnn.FullBatch())))(rates)
    assert ends.status.tolist() == [Status.MAX_EPOCHS] + [Status.DIVERGED] * 3
    assert ends.epoch.tolist() == [2, 0, 0, 0] and (np.asarray(histories.epoch) >= 0).sum(1).tolist() == [3, 1, 1, 1]
    assert ends.params.tolist() == ends.best.params.tolist() == [0.75, 0, 0, 0]  # from 0, half way to 1 and again


@behaves("D5", "an epoch is run that nobody asked for")
def test_no_epochs_return_the_initial_parameters():
    result = small.fit(0)
    assert bits(result.params) == bits(result.state.params) == bits(PARAMS) and result.best_epoch == 0
    state, history = small.ascend(small.start(), 0)
    assert bits(state.params) == bits(PARAMS) and history.epoch.tolist() == [0]


@behaves("D6", "a misspelt keyword is taken and ignored")
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "data.load"])
def test_a_misspelt_keyword_is_refused_by_python_itself(verb):
    function, good, _ = VERBS[verb]
    with pytest.raises(TypeError, match="pateince"):
        function(**good, pateince=3)


@behaves("D7", "two draws from one key are one draw")
def test_no_key_is_used_twice():
    with jax.debug_key_reuse(True):
        params = jaxnn.Mlp((1, 2, 1)).init(jax.random.key(5))
        end, _ = towards(X[:, 0], 0.1, MiniBatch(8), key=jax.random.key(6))
        drawn = jax.jit(lambda key: jaxnn.Stochastic().indices(key, 0, 0, 20))(jax.random.key(7))
        twice = jax.random.key(8)
        jax.random.bits(twice)
        with pytest.raises(jax.errors.KeyReuseError):  # the check can fail
            jax.random.bits(twice)
    assert end.status == Status.MAX_EPOCHS and drawn[0].shape == (1,) and len(params) == 2


@behaves("E1", "infinite parameters are returned, or a history that goes on")
def test_divergence_ends_the_run_with_the_last_finite_and_best_parameters():
    good = small.fit(3)
    with pytest.warns(RuntimeWarning, match=r"^diverged in epoch 4: .*; returned epoch \d; try learning_rate=1e\+37$"):
        bad = small.fit(9, state=good.state, learning_rate=1e38)
    assert bad.status == Status.DIVERGED and bad.history.epoch.tolist() == [4]
    assert bits(bad.params) == bits(good.params) and bad.best_epoch == good.best_epoch
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(bad.params))


def parabola(w, x, y):
    """-(w - 3)² / 2, but NaN for examples of x = 1 where w < 1, of x = 2 where w > 1, of x = 3 always."""
    bad = ((x == 1) & (w < 1)) | ((x == 2) & (w > 1)) | (x == 3)
    return jnp.where(bad, jnp.nan, -((w - 3) ** 2) / 2)


@behaves("E2", "NaN is larger than every number, or resets the patience")
@pytest.mark.parametrize(
    "when, status, epochs, best",
    # w is 0, 0.6, 1.08, 1.464, ...: a fifth nearer to 3 in each epoch.
    [(0, "max_epochs", 6, 6), (1, "max_epochs", 6, 6), (2, "stopped_early", 3, 1), (3, "stopped_early", 2, 0)],
    ids=["never", "at first", "later", "always"],
)
def test_a_hold_out_of_nan_is_no_gain_and_counts_against_patience(when, status, epochs, best):
    train = Batch(np.zeros(2, np.float32), np.zeros(2, np.float32))
    result = jaxnn.fit(
        PARABOLA, optax.sgd, jnp.zeros(()), train, train._replace(x=np.full(2, when, np.float32)),
        plan=jaxnn.FullBatch(), max_epochs=6, patience=2, learning_rate=0.2,
    )  # fmt: skip
    assert (str(result.status), result.history.epoch[-1], result.best_epoch) == (status, epochs, best)
    np.testing.assert_allclose(result.params, 3 * (1 - 0.8**best), rtol=1e-5)


PARABOLA = jaxnn.from_function(parabola)


def press_ctrl_c(progress):
    if progress.epoch >= 4 and progress.status == "running":
        signal.raise_signal(signal.SIGINT)


class TwoSteps:
    """The pace of a fit that looks at the keyboard after every second step."""

    steps = 2

    def update(self, taken, now):
        del taken, now


ENDINGS = {
    "max_epochs": {"max_epochs": 7},
    "stopped_early": {"max_epochs": 60, "learning_rate": 0.5, "patience": 3},
    "interrupted": {"max_epochs": 60, "progress": press_ctrl_c},
    "diverged": {"max_epochs": 9, "learning_rate": 1e38},
}


@behaves("E3", "the last parameters are returned in place of the best")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.filterwarnings("ignore:diverged")
def test_whatever_ends_a_run_the_best_parameters_come_back(monkeypatch, ending):
    monkeypatch.setattr(jaxnn._fit, "Pace", TwoSteps)
    state = {"state": small.fit(3).state} if ending == "diverged" else {}
    result = small.fit(**ENDINGS[ending], **state)
    assert str(result.status) == ending
    again = small.fit(0, params=result.params).history.hold_out_log_likelihood[0]
    assert again == result.state.best.value
    if not state:
        column = result.history.hold_out_log_likelihood
        assert (again, result.best_epoch) == (np.nanmax(column), np.nanargmax(column))


@behaves("E4", "a row is learnt and scored, or lost")
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_a_split_is_disjoint_and_complete_and_says_when_a_part_is_too_small(seed):
    rows = data.dataset(np.arange(20)[:, None], Y, num_classes=3)
    parts = data.split(rows, (0.6, 0.2, 0.2), seed=seed)
    assert sorted(np.concatenate([part.batch.x[:, 0] for part in parts]).tolist()) == list(range(20))
    again = data.split(Batch(np.arange(20)[:, None], Y, weights(3)), (0.6, 0.2, 0.2), seed=seed)
    assert [a.batch.x.tolist() for a in parts] == [b.x.tolist() for b in again]
    with pytest.warns(UserWarning, match="3 classes are more than the 2 examples of a part"):
        data.split(rows, (0.9, 0.1), seed=seed)


CHILD = """
import hashlib, jaxnn, numpy, optax
rng = numpy.random.default_rng(0)
batch = jaxnn.Batch(rng.normal(size=(20, 3)).astype("f4"), rng.integers(0, 2, 20).astype("i4"))
objective = jaxnn.LogLikelihood(jaxnn.Linear(3, 1), jaxnn.bernoulli)
result = jaxnn.fit(objective, optax.sgd, objective.model.init(1), batch, max_epochs=5, learning_rate=0.1)
print(hashlib.sha256(b"".join(numpy.asarray(a).tobytes() for layer in result.params for a in layer)).hexdigest())
"""


@behaves("E7", "another order of a set, another result")
def test_two_fresh_processes_give_the_same_bits():
    root = pathlib.Path(jaxnn.__file__).parents[1]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    first, second = (child.communicate(timeout=120)[0] for child in children)
    assert first == second and re.fullmatch(r"[0-9a-f]{64}\n", first)


@behaves("E8", "a compilation for every rate, seed, penalty or size")
def test_a_hundred_calls_with_new_values_are_one_trace():
    small.fit(1)
    with jax_log() as log:
        for i in range(100):
            objective = LogLikelihood(jaxnn.Mlp((3, 4, 3)), jaxnn.categorical, l2=i / 1e4)
            jaxnn.fit(
                objective, optax.adam, PARAMS, TRAIN, HOLD_OUT, plan=MiniBatch(8), max_epochs=1 + i % 3, key=i,
                learning_rate=0.1 + i / 1e3, patience=1 + i, min_delta=i / 1e5,
            )  # fmt: skip
    assert log.traced("advance") == 0 and log.compiled() == 0


@behaves("E8", "a compilation for every number of rows")
def test_new_numbers_of_rows_are_padded_to_few():
    with jax_log() as log:
        for rows in range(33, 64):  # 64 need no padding, so no weights
            x, y = np.resize(X, (rows, 3)), np.resize(Y, rows)
            assert len(jaxnn.predict(OBJECTIVE, PARAMS, x)) == len(jaxnn.predict_proba(OBJECTIVE, PARAMS, x)) == rows
            jaxnn.evaluate(OBJECTIVE, PARAMS, Batch(x, y))
    assert log.traced("_mapped") == 2 and log.traced("evaluation_sums") == 1
    want = np.exp([softmax_log_probs(PARAMS, x, np.full(63, k)) for k in range(3)]).T
    np.testing.assert_allclose(jaxnn.predict_proba(OBJECTIVE, PARAMS, x), want, rtol=1e-5)


@behaves("E8", "a function of the user's is traced again in every call, to ask for its shape")
def test_a_function_of_the_users_is_not_called_again_for_data_of_the_same_shape():
    calls = []

    def log_prob(w, x, y):
        calls.append(y)
        return quadratic(w, x, y)

    objective = jaxnn.from_function(log_prob, num_classes=2)
    batch = Batch(X[:8, 0], Y[:8] % 2)
    for repeat in range(5):
        before = len(calls)
        jaxnn.predict(objective, jnp.full((), repeat / 10), batch)
        jaxnn.evaluate(objective, jnp.full((), repeat / 10), batch)
        assert (len(calls) > before) == (repeat == 0)


@behaves("E8", "a step returns a weaker type than it took, and the next is compiled anew")
def test_the_second_step_is_the_program_of_the_first():
    state, _ = jaxnn.ascent_step(OBJECTIVE, optax.adam, STATE, TRAIN)
    with jax_log() as log:
        for _ in range(5):
            state, _ = jaxnn.ascent_step(OBJECTIVE, optax.adam, state, TRAIN)
    assert log.traced("_ascent_step") == 0
    assert not any(leaf.aval.weak_type for leaf in jax.tree.leaves(state) if hasattr(leaf, "aval"))


@behaves("E9", "a value of a trace outlives it")
def test_nothing_leaks_from_a_trace():
    batch = Batch(X[:, 0], np.zeros(20, np.float32))
    with jax.checking_leaks():
        result = jaxnn.fit(MEAN, optax.sgd, jnp.zeros(()), batch, max_epochs=2, learning_rate=0.1)
        jaxnn.evaluate(MEAN_OF_2, result.params, batch._replace(y=Y * 0))
    assert not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((result.state, result.history)))


@behaves("E10", "a state is donated and gone, or shares memory with its maker")
def test_a_state_can_be_used_again_and_is_its_own():
    state = small.start()
    first, second = (small.ascend(state, 2) for _ in range(2))
    assert bits(first) == bits(second)
    wide = LogLikelihood(jaxnn.Linear(32, 64), jaxnn.categorical)
    raw = np.zeros(4096, np.float32)
    start = (-raw.ctypes.data % 64) // 4  # aligned to 64 bytes, where JAX adopts NumPy's memory
    kernel = raw[start : start + 2048].reshape(32, 64)
    state = jaxnn.init_state(wide, optax.sgd, (type(PARAMS[0])(kernel, np.zeros(64, np.float32)),), learning_rate=0.1)
    raw[:] = 5
    assert not np.any(state.params[0].kernel) and not np.any(state.best.params[0].kernel)
