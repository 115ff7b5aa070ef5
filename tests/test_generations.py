"""Folders of checkpoints: what is kept, found and left alone; writing in the background; many processes."""

import contextlib
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import disk
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from small import bits

from jaxnn import CheckpointError, ConfigError, checkpoint
from jaxnn.checkpoint import Checkpoints, _folder, _generations

ROOT = Path(__file__).parent.parent
LIKE = {"n": 0}


def saved(folder, *values, keep=2):
    """Save a generation for each value, numbered from 1; return the folder of them."""
    checkpoints = Checkpoints(folder, keep=keep)
    for n, value in enumerate(values, 1):
        checkpoints.save({"n": n}, {"step": n}, value=value)
    return checkpoints


def numbers(checkpoints):
    return [int(path.name[:8]) for path in checkpoints.paths()]


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


# What is kept.


def test_the_newest_few_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "folder", keep=2)
    kept = []
    for n, value in enumerate([-3.0, -1.0, -2.0, -1.5, -9.0, -0.5, -7.0, -8.0], 1):
        path = checkpoints.save({"n": n}, {"step": n}, value=value)
        assert path == checkpoints.paths()[-1] and re.fullmatch(rf"{n:08d}-[0-9a-f]{{8}}\.safetensors", path.name)
        kept.append(numbers(checkpoints))
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [5, 6], [6, 7], [6, 7, 8]]
    latest, best = checkpoints.latest(LIKE), checkpoints.best(LIKE)
    assert (latest.tree, latest.info, latest.path) == ({"n": 8}, {"step": 8}, checkpoints.paths()[-1])
    assert (best.tree, best.info, best.path) == ({"n": 6}, {"step": 6}, checkpoints.paths()[0])


VALUES = st.one_of(st.none(), st.sampled_from([float("nan"), -1.0, 0.0, 1.0]), st.floats(-2, 2), st.integers(-2, 2))


@given(st.lists(VALUES, min_size=1, max_size=7), st.integers(1, 3))
def test_what_is_kept_is_what_the_list_of_all_values_says(tmp_path_factory, values, keep):
    checkpoints = Checkpoints(tmp_path_factory.mktemp("any"), keep=keep)
    kept, comparable = [], {}
    for n, value in enumerate(values, 1):
        checkpoints.save({"n": n}, value=value)
        if value is not None and not math.isnan(value):
            comparable[n] = value
        best = max(comparable, key=lambda n: (comparable[n], n), default=None)
        newest = range(max(1, n - keep + 1), n + 1)
        kept = sorted({n for n in {*kept, n} if n in newest or n == best})
        assert numbers(checkpoints) == kept
        assert checkpoints.latest(LIKE).tree == {"n": n}
        if best is not None:
            assert checkpoints.best(LIKE).tree == {"n": best}


def test_of_equal_values_the_newest_is_the_best(tmp_path):
    checkpoints = saved(tmp_path, 1.0, 1.0, 0.0, 0.0, keep=1)
    assert numbers(checkpoints) == [2, 4] and checkpoints.best(LIKE).tree == {"n": 2}


@pytest.mark.parametrize("value", [None, float("nan"), -float("inf")], ids=repr)
def test_without_a_finite_value_nothing_is_the_best(value, tmp_path):
    checkpoints = saved(tmp_path, value, value, value, keep=1)
    assert numbers(checkpoints) == [3]
    with pytest.raises(CheckpointError, match=r"^Checkpoints\.best: .* with none of these; pass value to save, or"):
        checkpoints.best(LIKE)
    assert checkpoints.latest(LIKE).tree == {"n": 3}


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), jnp.float32(2), True], ids=repr)
def test_any_number_is_a_value(value, tmp_path):
    checkpoints = saved(tmp_path, value, 0.5, 0.25, keep=1)
    assert numbers(checkpoints) == [1, 3] and checkpoints.best(LIKE).tree == {"n": 1}


@pytest.mark.parametrize("value", ["2", [1.0], np.zeros(2), 1j, object(), 10**400], ids=lambda v: repr(v)[:20])
def test_a_value_that_is_no_number_is_refused(value, tmp_path):
    with pytest.raises(CheckpointError, match=r"^Checkpoints\.save: value is a number; got value=.*; pass a float$"):
        Checkpoints(tmp_path).save({"n": 1}, value=value)
    assert not list(tmp_path.iterdir())


def test_numbers_go_on_beyond_eight_digits_and_after_a_gap(tmp_path):
    checkpoints = saved(tmp_path, None)
    checkpoints.paths()[0].rename(tmp_path / "99999999-0000.safetensors")
    assert checkpoints.save({"n": 2}).name.startswith("100000000-")
    assert [path.name[:9] for path in checkpoints.paths()] == ["99999999-", "100000000"]
    assert checkpoints.latest(LIKE).tree == {"n": 2}


def test_other_files_are_left_alone_and_never_taken_for_generations(tmp_path):
    others = ["1-abcd.safetensors", "00000009-abcd.safetensors.bak", "00000009-ABCD.safetensors", "model.safetensors",
              "00000009-abcd.tmp", "x00000009-abcd.safetensors", "00000009.safetensors", "notes.txt"]  # fmt: skip
    for name in others:
        (tmp_path / name).write_text("mine")
    checkpoints = saved(tmp_path, 1.0, 2.0, 3.0, 4.0, keep=1)
    assert numbers(checkpoints) == [4]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, checkpoints.paths()[0].name])
    assert all((tmp_path / name).read_text() == "mine" for name in others)


def test_a_folder_is_made_with_the_folders_it_is_in(tmp_path):
    checkpoints = Checkpoints(str(tmp_path / "a" / "b"))
    assert checkpoints.paths() == [] and not (tmp_path / "a").exists()
    checkpoints.save({"n": 1})
    assert checkpoints.latest(LIKE).tree == {"n": 1}


def test_a_folder_that_is_a_file_is_an_error_of_its_own(tmp_path):
    (tmp_path / "file").write_text("x")
    checkpoints = Checkpoints(tmp_path / "file")
    for call, words in [
        (lambda: checkpoints.save(LIKE), r"^Checkpoints\.save: the folder can be written; got path='.*file': .*exists"),
        (lambda: checkpoints.make_folder("fit"), r"^fit: the folder can be written; got path='.*file': .*exists"),
        (lambda: checkpoints.latest(LIKE), r"^Checkpoints: the folder can be read; got folder='.*file': .*; choose an"),
        (checkpoints.paths, r"^Checkpoints: the folder can be read; got folder='.*file': .*; choose another$"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            call()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"folder": 3}, CheckpointError, r"folder is a path; got folder=3; pass text or a Path"),
        ({"folder": None}, CheckpointError, r"folder is a path; got folder=None; "),
        ({"folder": b"x"}, CheckpointError, r"folder is a path; got folder=b'x'; "),
        ({"keep": 0}, ConfigError, r"keep is a whole number >= 1; got keep=0; "),
        ({"keep": 1.5}, ConfigError, r"keep is a whole number >= 1; got keep=1\.5; "),
        ({"keep": True}, ConfigError, r"keep is a whole number >= 1; got keep=True; "),
        ({"every": -1.0}, ConfigError, r"every is a finite number >= 0; got every=-1\.0; "),
        ({"every": float("nan")}, ConfigError, r"every is a finite number >= 0; got every=nan; "),
        ({"every": float("inf")}, ConfigError, r"every is a finite number >= 0; got every=inf; "),
        ({"every": "1"}, ConfigError, r"every is a finite number >= 0; got every='1'; "),
        ({"resume": "yes"}, ConfigError, r"resume is True or False; got resume='yes'; "),
        ({"resume": None}, ConfigError, r"resume is True or False; got resume=None; "),
        (
            {"on_error": "wran"},
            ConfigError,
            r"on_error is one of raise, warn; got on_error='wran'; did you mean",
        ),
        ({"on_error": None}, ConfigError, r"on_error is one of raise, warn; got on_error=None; "),
    ],
    ids=repr,
)
def test_an_option_that_means_nothing_is_refused_before_anything_is_made(options, error, words, tmp_path):
    with pytest.raises(error, match=rf"^Checkpoints: {words}"):
        Checkpoints(**{"folder": tmp_path / "folder"} | options)
    assert not list(tmp_path.iterdir())


# What is found.


@pytest.mark.parametrize("hurt", ["flipped", "cut", "empty", "longer", "no header", "text"])
def test_a_damaged_generation_is_skipped_with_a_warning_that_names_it_and_the_reason(hurt, tmp_path):
    checkpoints = saved(tmp_path, None, None, None, keep=3)
    first, second, third = checkpoints.paths()
    content = third.read_bytes()
    new, why = {
        "flipped": (content[:-1] + bytes([content[-1] ^ 1]), "its SHA-256 is not that of what was written"),
        "cut": (content[:-1], "does not fit in its place"),
        "empty": (b"", "0 bytes do not begin with the length of a header"),
        "longer": (content + b"\0", "are described"),
        "no header": (content[8:], "do not begin with the length of a header"),
        "text": (b"hello, this is no checkpoint", "do not begin with the length of a header"),
    }[hurt]
    third.write_bytes(new)
    words = rf"^Checkpoints\.latest: every checkpoint is whole; got path='{third}': .*{why}.*; took {second.name}, "
    with pytest.warns(UserWarning, match=words) as seen:
        found = checkpoints.latest(LIKE)
    assert (found.tree, found.info, found.path) == ({"n": 2}, {"step": 2}, second)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert third.read_bytes() == new  # it is left to be looked at
    damage(second)
    with pytest.warns(UserWarning, match=rf"{third.name}'.*{second.name}'.*; took {first.name}, "):
        assert checkpoints.latest(LIKE).tree == {"n": 1}


def test_a_damaged_best_generation_is_skipped_with_a_warning(tmp_path):
    checkpoints = saved(tmp_path, 3.0, 2.0, 1.0, keep=3)
    damage(checkpoints.paths()[0])
    with pytest.warns(UserWarning, match=r"^Checkpoints\.best: every checkpoint is whole; got path=.*00000001-"):
        assert checkpoints.best(LIKE).tree == {"n": 2}


def test_where_all_are_damaged_the_error_names_each(tmp_path):
    checkpoints = saved(tmp_path, 1.0, 2.0, 3.0, keep=3)
    for path in checkpoints.paths():
        damage(path)
    for which in (checkpoints.latest, checkpoints.best):
        with pytest.raises(
            CheckpointError, match=r"the folder holds a checkpoint that is whole; got .*; save one, or restore a copy$"
        ) as error:
            which(LIKE)
        assert all(f"path='{path}': its SHA-256" in str(error.value) for path in checkpoints.paths())


def test_an_empty_folder_and_none_are_an_error_that_names_it(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        for which in ("latest", "best"):
            with pytest.raises(CheckpointError, match=rf"^Checkpoints\.{which}: .*; got folder='{folder}' with none; "):
                getattr(Checkpoints(folder), which)(LIKE)
    assert not list(tmp_path.iterdir())


def test_a_newest_generation_of_another_model_is_an_error_and_never_skipped(tmp_path):
    checkpoints = saved(tmp_path, 1.0)
    path = checkpoints.save({"m": 1, "n": np.zeros(3, np.float32)}, value=2.0)
    for which in (checkpoints.latest, checkpoints.best):
        with pytest.raises(
            CheckpointError, match=r"the file fits the model; got .*; load it into what it was"
        ) as error:
            which(LIKE)
        assert "m not expected" in str(error.value) and "n is float32[3], not int64[]" in str(error.value)
        assert str(path) in str(error.value)


def test_generations_pruned_between_the_look_at_the_folder_and_the_reading_are_no_error(tmp_path, monkeypatch):
    checkpoints = saved(tmp_path, 1.0, 0.0, 0.0)
    newer = saved(tmp_path / "other", 5.0).paths()[0].read_bytes()
    real, looks = _folder.generations_in, []

    def paths(folder):
        found = real(folder)
        looks.append(found)
        if len(looks) <= 2:  # meanwhile another process saved one, and pruned these
            (tmp_path / f"{int(found[-1].name[:8]) + 1:08d}-abcd.safetensors").write_bytes(newer)
            for path in found:
                path.unlink()
        return found

    for which in ("latest", "best"):
        looks.clear()
        with monkeypatch.context() as patch:
            patch.setattr(_folder, "generations_in", paths)
            found = getattr(checkpoints, which)(LIKE)
        assert [found.path] == checkpoints.paths() and len(looks) >= 3


def test_a_link_to_nowhere_and_a_folder_under_the_name_of_a_generation_are_skipped_or_refused(tmp_path):
    checkpoints = saved(tmp_path, 1.0)
    (tmp_path / "00000002-abcd.safetensors").symlink_to(tmp_path / "nowhere")
    for which in (checkpoints.latest, checkpoints.best):
        with disk.within(5):
            try:
                assert which(LIKE).tree == {"n": 1}
            except (CheckpointError, UserWarning) as error:
                assert "00000002-abcd" in str(error)
    (tmp_path / "00000003-abcd.safetensors").mkdir()
    with disk.within(5):
        checkpoints.save({"n": 4}, value=2.0)
        assert checkpoints.latest(LIKE).tree == {"n": 4}


def test_a_generation_whose_value_is_beyond_all_floats_is_no_reason_to_fail(tmp_path):
    """The value is read before the SHA-256 is checked, so that anything may stand there."""
    checkpoints = saved(tmp_path, 1.0, keep=3)
    for number, value in enumerate(["1" + "0" * 400, "1e999", '"text"', "[1]", "true", "null", "{}"], 2):
        header = '{"__metadata__": {"jaxnn": "{\\"format\\": 1, \\"info\\": {}, \\"keys\\": {}, \\"value\\": %s}", '
        text = (header % value.replace('"', '\\"') + '"sha256": "%s"}}' % ("0" * 64)).encode()
        path = tmp_path / f"{number:08d}-abcd.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.warns(UserWarning):
        assert checkpoints.best(LIKE).tree == {"n": 1}
    checkpoints.save({"n": 2})
    assert checkpoints.latest(LIKE).tree == {"n": 2}


# Written in the background.


def test_what_happens_to_a_tree_after_start_changes_nothing_in_the_file(tmp_path, monkeypatch):
    real, go = _generations.write_tensors, threading.Event()

    def wait(*args):  # before anything is written
        assert go.wait(30)
        real(*args)

    monkeypatch.setattr(_generations, "write_tensors", wait)
    donate = jax.jit(lambda a: a * 0 - 1, donate_argnums=0)
    tree = {"numpy": np.arange(1000, dtype=np.float32), "jax": jnp.arange(1000.0) + 1, "key": jax.random.key(4)}
    info = {"list": [1, 2]}
    want, like = bits(tree), jax.tree.map(lambda leaf: leaf + 0 if isinstance(leaf, np.ndarray) else leaf, tree)
    like["jax"] = jnp.zeros(1000)
    future = Checkpoints(tmp_path).start(tree, info, value=1.0)
    tree["numpy"][:] = -1
    info["list"].append(3)
    donated = donate(tree["jax"])
    assert tree["jax"].is_deleted() and np.all(np.asarray(donated) == -1)
    del tree
    assert not future.done()
    go.set()
    path = future.result(timeout=30)
    found = Checkpoints(tmp_path).latest(like)
    assert bits(found.tree) == want and found.path == path
    assert found.info == {"list": [1, 2]}


def test_without_a_copy_the_arrays_of_jax_are_written_as_they_are(tmp_path):
    tree = {"jax": jnp.arange(1000.0)}
    path = Checkpoints(tmp_path).start(tree, copy=False).result()
    assert bits(checkpoint.load(path, like=tree)) == bits(tree)


def test_what_cannot_be_saved_is_told_by_start_at_once(tmp_path):
    for tree, info, value in [({"w": "text"}, None, None), ({}, {"a": math.nan}, None), ({}, None, [1])]:
        with pytest.raises(CheckpointError, match=r"^Checkpoints\.save: "):
            Checkpoints(tmp_path).start(tree, info, value=value)
    assert not list(tmp_path.iterdir())


def test_the_future_raises_what_went_wrong_and_the_next_save_works(tmp_path):
    checkpoints = saved(tmp_path, 1.0)
    with disk.Fault("fsync", 1, disk.full_disk()):
        future = checkpoints.start({"n": 2})
        with pytest.raises(CheckpointError, match=r"^Checkpoints\.save: the folder can be written; .*No space left"):
            future.result()
    assert numbers(checkpoints) == [1] and len(list(tmp_path.iterdir())) == 1
    checkpoints.start({"n": 2}).result()
    assert checkpoints.latest(LIKE).tree == {"n": 2}


def test_several_writers_in_one_process_get_names_of_their_own(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=100)
    futures = [checkpoints.start({"n": n}) for n in range(20)]
    paths = {future.result() for future in futures}
    assert len(paths) == 20 and sorted(paths) == sorted(checkpoints.paths())
    assert sorted(checkpoint.load(path, LIKE)["n"] for path in paths) == list(range(20))


PROGRAM = """
import sys
import numpy as np
from jaxnn.checkpoint import Checkpoints

for n in (1, 2):
    Checkpoints(sys.argv[1]).start({"n": n, "w": np.full(20_000_000, n, np.uint8)})
"""


def test_a_program_that_ends_right_after_start_has_its_file_written(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    trees = [checkpoint.read(path).arrays for path in Checkpoints(tmp_path).paths()]
    assert sorted(int(tree["n"]) for tree in trees) == [1, 2]
    assert all(np.all(tree["w"] == tree["n"]) for tree in trees)
    assert len(list(tmp_path.iterdir())) == 2


# Many processes: one that has imported everything forks them, so that they begin at once.

FORKS = """
import itertools, os, random, signal, sys, time, traceback, warnings
import numpy as np
from jaxnn.checkpoint import Checkpoints

def tree_of(n, size):
    return {"a": np.full(size, n), "b": np.full((3, 100), n), "c": n}

def number_in(content):
    found = {int(n) for array in content.arrays.values() for n in (array.min(), array.max())} | {content.info["n"]}
    assert len(found) == 1, f"a mix of {found}"
    return found.pop()

def forked(work, *args):
    child = os.fork()
    if child:
        return child
    try:
        warnings.simplefilter("error")
        work(*args)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)

def number_of(path):
    return int(path.name.partition("-")[0])
"""

WRITERS = (
    FORKS
    + """
def write(folder, writer, saves):
    checkpoints = Checkpoints(folder, keep=2)
    for n in range(writer * 1000, writer * 1000 + saves):
        mine = checkpoints.save(tree_of(n, 2000), {"n": n}, value=n % 7)
        path, content = checkpoints.newest_content("a reader")
        number_in(content)
        assert number_of(path) >= number_of(mine), "the folder got older"

folder, writers, saves = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
children = [forked(write, folder, writer, saves) for writer in range(writers)]
failed = [child for child in children if os.waitpid(child, 0)[1]]
sys.exit(len(failed))
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_eight_processes_that_save_into_one_folder_and_read_it_see_whole_generations_only(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WRITERS, str(tmp_path), "8", "50"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    paths = Checkpoints(tmp_path).paths()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    contents = [checkpoint.read(path) for path in paths]
    assert contents and int(paths[-1].name[:8]) >= 50
    assert all(np.all(array == content.info["n"]) for content in contents for array in content.arrays.values())
    assert max(content.info["n"] % 7 for content in contents) == 6  # a best one
    assert len(paths) <= 3 + 8  # those who looked last may have left some to the next


KILLED = (
    FORKS
    + """
def write(folder, first):
    for n in itertools.count(first):
        Checkpoints(folder, keep=2).save(tree_of(n, 200_000), {"n": n}, value=-n)

folder, kills = sys.argv[1], int(sys.argv[2])
rng, last, halves, before = random.Random(0), -1, 0, 1
Checkpoints(folder).save(tree_of(0, 10), {"n": 0}, value=1)  # the best for ever
warnings.simplefilter("error")
for kill in range(kills):
    newest = Checkpoints(folder).paths()[-1]
    child = forked(write, folder, last + 1)
    while kill % 2 and Checkpoints(folder).paths()[-1] == newest:  # every second one finishes a save, however slow
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    names = os.listdir(folder)
    halves += any(name.endswith(".tmp") for name in names)
    paths = Checkpoints(folder).paths()
    assert number_of(paths[0]) == 1, "the best was lost"
    path, content = Checkpoints(folder).newest_content("a reader")
    assert path == paths[-1]
    n = number_in(content)
    assert n >= last, "an older generation came back"
    last = n
    assert len(names) <= max(4, before + 1), names  # a save that was finished has pruned down to three
    before = len(names)
Checkpoints(folder, keep=2).save(tree_of(last + 1, 10), {"n": last + 1}, value=-last - 1)
assert len(os.listdir(folder)) == 3 == len(Checkpoints(folder).paths()), os.listdir(folder)
print(halves, last)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_hundred_writers_killed_at_any_instant_leave_whole_generations_only(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), "100"], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    halves, last = map(int, done.stdout.split())
    assert halves >= 10 and last >= 20  # kills in the middle of a write, and writes that were finished


# What the header alone is trusted for.


def test_a_value_changed_in_the_header_is_not_taken_for_the_best(tmp_path):
    checkpoints = saved(tmp_path, 1.25, 5.0, 2.0, keep=3)
    first = checkpoints.paths()[0]
    first.write_bytes(first.read_bytes().replace(b'value\\": 1.25', b'value\\": 9.25'))
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save({"n": 4}, value=0.0)
    assert checkpoints.best(LIKE).tree == {"n": 2} and not first.exists()


def test_what_could_not_be_read_back_is_not_written(tmp_path):
    checkpoints = saved(tmp_path, None, keep=1)
    deep: list = []
    for _ in range(985):
        deep = [deep]
    before = checkpoints.paths()
    with pytest.raises(
        CheckpointError, match=r"^checkpoint\.save: names and info fit in a header; got .*at most are read"
    ):
        checkpoints.save({"n": 2}, {"x": "a" * 100_000_001})
    assert checkpoints.paths() == before
    with contextlib.suppress(CheckpointError):  # how deep is too deep is up to the stack; what is written can be read
        checkpoints.save({"n": 2}, {"x": deep})
    assert checkpoints.latest(LIKE)


def test_a_folder_without_values_has_no_best_and_says_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"^Checkpoints\.best: a generation was saved with a value; got folder="):
        saved(tmp_path, None, None).best(LIKE)
