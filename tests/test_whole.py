"""Files written whole or not at all: a fault at every call, a power cut after every call, a full disk, a kill."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import disk
import numpy as np
import pytest
from disk import Fault, after_power_cuts, full_disk, limited, open_handles, recorded
from small import bits

from jaxnn import CheckpointError, _whole, checkpoint
from jaxnn._whole import flush_folder, sweep, whole, write_all, write_whole
from jaxnn.checkpoint import Checkpoints

ROOT = Path(__file__).parent.parent
ABANDONED = ".0123456789abcdef.tmp"


def tree_of(step):
    return {"w": np.full((3, 4), step, np.float32), "n": np.arange(step, step + 7, dtype=np.int32)}


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def same(path, step):
    return bits(checkpoint.load(path, like=tree_of(0))) == bits(tree_of(step))


# A fault at every single call.


@pytest.mark.parametrize("error", [full_disk(), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
@pytest.mark.parametrize("call", disk.CALLS[:-1])
def test_a_fault_at_any_call_leaves_the_old_file_or_the_new_one_and_nothing_else(call, error, tmp_path):
    path = tmp_path / "file"
    for k in itertools.count(1):
        checkpoint.save(path, tree_of(1))
        before, handles = path.read_bytes(), open_handles()
        with Fault(call, k, error) as fault:
            outcome = outcome_of(lambda: checkpoint.save(path, tree_of(2)))
        if not fault.struck:
            assert outcome is None
            break
        assert_told(outcome, error, rf"^checkpoint\.save: the folder can be written; got path='{path}': ")
        assert names_in(tmp_path) == ["file"] and open_handles() == handles
        if fault.renamed:  # too late for the old one
            assert same(path, 2)
        else:
            assert path.read_bytes() == before and same(path, 1)
        checkpoint.save(path, tree_of(3))
        assert same(path, 3) and names_in(tmp_path) == ["file"]
    assert k > {"open": 2, "write": 4, "half a write": 4, "fsync": 2, "replace": 1, "close": 2}[call]


@pytest.mark.parametrize("error", [full_disk(), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
@pytest.mark.parametrize("call", disk.CALLS)
def test_a_fault_at_any_call_leaves_every_generation_that_is_to_be_kept(call, error, tmp_path):
    """Generation 1 is the best, 3 the newest, and saving a fourth prunes 2; a killed process left a temporary file."""
    home = tmp_path / "home"
    for step in (1, 2, 3):
        Checkpoints(home, keep=2).save(tree_of(step), value=-step)
    (home / ABANDONED).write_bytes(b"half of a file")
    old = {path.name: path.read_bytes() for path in home.iterdir()}
    best, middle, newest = (path.name for path in Checkpoints(home).paths())
    for k in itertools.count(1):
        folder = tmp_path / str(k)
        shutil.copytree(home, folder)
        checkpoints = Checkpoints(folder, keep=2)
        handles = open_handles()
        with Fault(call, k, error) as fault:
            outcome = outcome_of(partial(checkpoints.save, tree_of(4), value=-4))
        if not fault.struck:
            break
        assert open_handles() == handles
        now = set(names_in(folder))
        new = now - old.keys()
        assert now >= {best, newest} and len(new) == fault.renamed
        assert all((folder / name).read_bytes() == old[name] for name in now & old.keys())
        assert not any(name.endswith(".tmp") for name in new)
        if isinstance(outcome, Path):  # a fault while sweeping or pruning, which is no reason to end a run
            assert isinstance(error, OSError) and call in ("open", "unlink", "close", "fsync")
            assert new == {outcome.name} and same(outcome, 4)
        else:
            assert_told(outcome, error, rf"^Checkpoints\.save: the folder can be written; got path='{folder}': ")
            assert not new or isinstance(error, KeyboardInterrupt) or middle in now
        assert same(checkpoints.best(tree_of(0)).path, 1)
        assert same(checkpoints.latest(tree_of(0)).path, 4 if new else 3)
        path = checkpoints.save(tree_of(5), value=-5)
        before = (checkpoints.paths()[-2]).name
        assert names_in(folder) == sorted([best, before, path.name]) and same(path, 5)
        assert same(folder / before, 4 if new else 3) and same(folder / best, 1)
    assert k > {"open": 6, "write": 4, "half a write": 4, "fsync": 2, "replace": 1, "close": 3, "unlink": 2}[call]


def outcome_of(call):
    try:
        return call()
    except BaseException as error:
        return error


def assert_told(outcome, error, start):
    if isinstance(error, KeyboardInterrupt):
        assert outcome is error
        return
    assert isinstance(outcome, CheckpointError) and outcome.__cause__ is error
    with pytest.raises(CheckpointError, match=start + r".*No space left on device; free space or choose another$"):
        raise outcome


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "close"])
def test_an_interrupt_just_after_any_call_leaves_nothing_behind(call, tmp_path):
    path = tmp_path / "file"
    for k in itertools.count(1):
        path.unlink(missing_ok=True)
        handles = open_handles()
        with Fault(call, k, KeyboardInterrupt(), after=True) as fault:
            outcome = outcome_of(lambda: checkpoint.save(path, tree_of(2)))
        if not fault.struck:
            break
        assert isinstance(outcome, KeyboardInterrupt) and open_handles() == handles
        assert names_in(tmp_path) == ["file"] * fault.renamed
        assert not fault.renamed or same(path, 2)


def test_what_an_interrupt_left_just_after_the_temporary_file_was_made_goes_with_the_next_save(tmp_path):
    """Nobody can remove it at once: its name is not known yet to whom the interrupt reaches."""
    checkpoints = Checkpoints(tmp_path)
    with Fault("open", 1, KeyboardInterrupt(), after=True), pytest.raises(KeyboardInterrupt):
        checkpoints.save(tree_of(1))
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    path = checkpoints.save(tree_of(2))
    assert names_in(tmp_path) == [path.name]


def test_where_not_even_the_temporary_file_can_be_removed_the_first_error_is_told(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with Fault("write", 2, full_disk()), Fault("unlink", 1, PermissionError(13, "another")):
        with pytest.raises(CheckpointError, match="No space left on device"):
            checkpoints.save(tree_of(1))
    assert [path.suffix for path in tmp_path.iterdir()] == [".tmp"]
    path = checkpoints.save(tree_of(2))
    assert names_in(tmp_path) == [path.name]


def test_a_fault_strikes_at_its_call_and_no_other(tmp_path):
    with Fault("write", 2, full_disk()) as fault, open(tmp_path / "file", "wb", 0) as file:
        assert os.write(file.fileno(), b"abcd") == 4 and not fault.struck
        with pytest.raises(OSError, match="No space"):
            os.write(file.fileno(), b"ef")
        assert os.write(file.fileno(), b"gh") == 2 and fault.struck
    with Fault("half a write", 1, full_disk()) as fault, open(tmp_path / "half", "wb", 0) as file:
        assert os.write(file.fileno(), b"abcd") == 2
        with pytest.raises(OSError, match="No space"):
            os.write(file.fileno(), b"cd")
    assert (tmp_path / "file").read_bytes() == b"abcdgh" and (tmp_path / "half").read_bytes() == b"ab"


# The small pieces.


def test_everything_is_written_however_little_the_system_takes_at_once(tmp_path, monkeypatch):
    real, sizes = os.write, []

    def little(handle, data):
        sizes.append(len(data))
        return real(handle, data[:3])

    monkeypatch.setattr(os, "write", little)
    with open(tmp_path / "file", "wb", 0) as file:
        write_all(file.fileno(), np.arange(5, dtype=np.int32))
    assert (tmp_path / "file").read_bytes() == np.arange(5, dtype=np.int32).tobytes()
    assert sizes == [20, 17, 14, 11, 8, 5, 2]


def test_a_file_is_filled_under_another_name_in_its_folder_and_then_named(tmp_path):
    def write(path):
        assert path.parent == tmp_path and not (tmp_path / "file").exists()
        path.write_text("new")
        names.append(path.name)

    names = []
    write_whole(tmp_path / "file", write)
    assert names_in(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "new" and names != ["file"]

    def fail(path):
        path.write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path / "file", fail)
    assert names_in(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "new"


def test_the_name_is_chosen_once_everything_is_on_the_disk(tmp_path):
    with recorded() as log:

        def name():
            log.append(("name",))
            return tmp_path / "file"

        with whole(name, tmp_path) as (handle, temporary):
            write_all(handle, b"abc")
            assert temporary.read_bytes() == b"abc"
    assert [event[0] for event in log] == ["make", "write", "fsync", "name", "rename", "flush"]


def test_a_temporary_file_that_was_swept_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    real, sweeps = _whole.fcntl.flock, []

    def late(handle, how):
        if not sweeps:  # another process is quicker
            sweeps.append(names_in(tmp_path))
            os.unlink(tmp_path / sweeps[0][0])
        return real(handle, how)

    monkeypatch.setattr(_whole.fcntl, "flock", late)
    handles = open_handles()
    checkpoint.save(tmp_path / "file", tree_of(1))
    assert len(sweeps) == 1 and names_in(tmp_path) == ["file"] and same(tmp_path / "file", 1)
    assert open_handles() == handles


def test_a_file_system_without_locks_is_written_to_and_never_swept(tmp_path, monkeypatch):
    def no_locks(handle, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(_whole.fcntl, "flock", no_locks)
    (tmp_path / ABANDONED).write_bytes(b"somebody may be writing this")
    path = Checkpoints(tmp_path).save(tree_of(1))
    assert names_in(tmp_path) == sorted([ABANDONED, path.name]) and same(path, 1)


# The order of calls, and a power cut after every one of them.


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Five saves with `keep=1` into a new folder, the second of them the best: the folder, and what was recorded."""
    folder = tmp_path_factory.mktemp("history") / "folder"
    folder.mkdir()
    with recorded() as log:
        for step in range(1, 6):
            Checkpoints(folder, keep=1).save(numbers(step), {"step": step}, value=-abs(step - 2))
            log.append(("saved", step))
    return str(folder), log


def numbers(step):
    return {"a": step, "b": [step] * 3, "c": float(step)}


def test_a_generation_is_on_the_disk_before_it_is_named_and_named_before_an_older_one_goes(history):
    folder, log = history
    for step in range(1, 6):
        begin = log.index(("saved", step - 1)) + 1 if step > 1 else 0
        kinds = [event[0] for event in log[begin : log.index(("saved", step))]]
        assert kinds[0] == "make" and kinds.count("make") == kinds.count("rename") == 1
        assert kinds.count("flush") in (1, 2)  # once more before anything goes: others may have saved meanwhile
        assert kinds.count("fsync") == 1 and kinds.count("write") >= 3
        last_write = len(kinds) - 1 - kinds[::-1].index("write")
        assert last_write < kinds.index("fsync") < kinds.index("rename") < kinds.index("flush")
        removals = [at for at, kind in enumerate(kinds) if kind == "remove"]
        assert all(at > kinds.index("flush") for at in removals)
    assert [event[0] for event in log].count("remove") == 3  # five, less the best and the newest
    assert {event[1] for event in log if event[0] in ("make", "rename", "flush", "remove")} == {folder}


def test_after_a_power_cut_at_any_instant_the_newest_and_the_best_generation_are_whole(history, tmp_path):
    folder, log = history
    assert check_power_cuts(log, folder, tmp_path / "cut") > 100


def check_power_cuts(log, folder, cut):
    """Return how many different folders were looked at; fail where one has lost what `save` had returned for."""
    seen = set()
    for done, files in after_power_cuts(log, folder):
        saved = [event[1] for event in log[:done] if event[0] == "saved"]
        state = (len(saved), frozenset(files.items()))
        if state in seen:
            continue
        seen.add(state)
        shutil.rmtree(cut, ignore_errors=True)
        cut.mkdir()
        for name, content in files.items():
            (cut / name).write_bytes(content)
        checkpoints = Checkpoints(cut, keep=1)
        if saved or checkpoints.paths():
            newest, best = checkpoints.latest(numbers(0)), checkpoints.best(numbers(0))  # a warning fails the test
            assert newest.tree == numbers(newest.info["step"]) and best.tree == numbers(best.info["step"])
            assert newest.info["step"] >= max(saved, default=0)
            assert abs(best.info["step"] - 2) <= min((abs(step - 2) for step in saved), default=9)
    return len(seen)


def without(kind):
    return lambda log: [event for event in log if event[0] != kind]


def swapped(first, second):
    """Return what moves, in every save, the events of the first kind to just before those of the second."""

    def move(log):
        result, begin = [], 0
        for end in [at + 1 for at, event in enumerate(log) if event[0] == "saved"]:
            part = log[begin:end]
            moved, rest = ([e for e in part if (e[0] == first) is which] for which in (True, False))
            at = next(i for i, event in enumerate(rest) if event[0] == second)
            result, begin = [*result, *rest[:at], *moved, *rest[at:]], end
        return result

    return move


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(without("fsync"), id="no fsync of the file"),
        pytest.param(without("flush"), id="no fsync of the folder"),
        pytest.param(swapped("rename", "fsync"), id="named before the fsync"),
        pytest.param(swapped("fsync", "write"), id="fsync before the writes"),
        pytest.param(swapped("remove", "flush"), id="pruned before the folder is flushed"),
        pytest.param(swapped("flush", "rename"), id="folder flushed before the file is named"),
    ],
)
def test_the_check_of_power_cuts_finds_every_missing_or_misplaced_flush(mutant, history, tmp_path):
    folder, log = history
    with pytest.raises((AssertionError, CheckpointError, UserWarning)):
        check_power_cuts(mutant(log), folder, tmp_path / "cut")


def test_after_a_power_cut_at_any_instant_a_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "file"
    with recorded() as log:
        for step in (1, 2, 3):
            checkpoint.save(path, numbers(step))
            log.append(("saved", step))
    seen = set()
    for done, files in after_power_cuts(log, str(tmp_path)):
        saved = max((event[1] for event in log[:done] if event[0] == "saved"), default=0)
        if "file" in files:
            (tmp_path / "cut").write_bytes(files["file"])
            tree = checkpoint.load(tmp_path / "cut", like=numbers(0))
            assert tree in [numbers(step) for step in (saved, saved + 1)]
            seen.add((saved, tree["a"]))
        else:
            assert saved == 0
    assert seen == {(0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)}


def test_a_folder_that_was_made_for_the_first_save_is_on_the_disk_when_it_returns(tmp_path):
    with recorded() as log:
        Checkpoints(tmp_path / "a" / "b").save(tree_of(1))
    made = [(at, event[1]) for at, event in enumerate(log) if event[0] == "folder"]
    assert len({parent for _, parent in made}) >= 2
    last = {parent: max(at for at, other in made if other == parent) for _, parent in made}
    for parent in (str(tmp_path), str(tmp_path / "a")):
        assert ("flush", parent) in log[last[parent] :]


# A real disk that is full, a folder that cannot be written, no handle left.


def test_a_file_larger_than_allowed_is_an_error_and_the_old_ones_stay(tmp_path):
    resource = pytest.importorskip("resource")
    path, checkpoints = tmp_path / "file", Checkpoints(tmp_path / "folder")
    checkpoint.save(path, tree_of(1))
    checkpoints.save(tree_of(1))
    before = names_in(tmp_path), names_in(checkpoints.folder)
    for limit in (0, 1, 7, 8, 100, 4096, 40_000):
        with limited(resource.RLIMIT_FSIZE, limit):
            large = {"w": np.ones(10_000, np.float32)}
            with pytest.raises(CheckpointError, match=r"^checkpoint\.save: .*File too large; free space or choose"):
                checkpoint.save(path, large)
            with pytest.raises(CheckpointError, match=r"^Checkpoints\.save: .*File too large; free space or choose"):
                checkpoints.save(large)
            with pytest.raises(CheckpointError, match=r"File too large"):
                checkpoints.start(large).result()
        assert (names_in(tmp_path), names_in(checkpoints.folder)) == before
    assert same(path, 1) and same(checkpoints.latest(tree_of(0)).path, 1)
    checkpoint.save(path, large)
    checkpoints.save(large)


def test_a_trial_that_finds_the_disk_full_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    with limited(resource.RLIMIT_FSIZE, 0), pytest.raises(CheckpointError, match=r"^fit: the folder can be written; "):
        Checkpoints(tmp_path).make_folder("fit")
    assert not names_in(tmp_path)
    Checkpoints(tmp_path).make_folder("fit")
    assert not names_in(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_device_that_is_full_is_an_error(tmp_path, monkeypatch):
    real = os.write
    with open("/dev/full", "wb", 0) as full:
        monkeypatch.setattr(os, "write", lambda handle, data: real(full.fileno(), data))
        with pytest.raises(CheckpointError, match=r"No space left on device; free space or choose another$"):
            checkpoint.save(tmp_path / "file", tree_of(1))
    assert not names_in(tmp_path)


def test_no_handle_left_is_an_error_and_the_old_ones_stay(tmp_path):
    resource = pytest.importorskip("resource")
    path, checkpoints = tmp_path / "file", Checkpoints(tmp_path / "folder", keep=1)
    checkpoint.save(path, tree_of(1))
    checkpoints.save(tree_of(1), value=9)
    outcomes = []
    for more in range(5):
        first, second = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
        os.close(first), os.close(second)
        with limited(resource.RLIMIT_NOFILE, first + more):
            done = outcome_of(lambda: checkpoint.save(path, tree_of(1)))
            outcomes.append(outcome_of(lambda: checkpoints.save(tree_of(1), value=0)))
        for outcome in (done, outcomes[-1]):
            assert not isinstance(outcome, BaseException) or (
                isinstance(outcome, CheckpointError) and "Too many open files" in str(outcome)
            )
        assert names_in(tmp_path) == ["file", "folder"] and same(path, 1)
        assert all(name.endswith(".safetensors") for name in names_in(checkpoints.folder))
        assert checkpoints.best(tree_of(0)).path.name.startswith("00000001-")
    assert isinstance(outcomes[0], CheckpointError) and isinstance(outcomes[-1], Path)


def test_a_folder_that_may_not_be_written_is_an_error(tmp_path):
    """Root may write anywhere, so that root becomes somebody else for a moment."""
    folder = Path(tempfile.mkdtemp())
    try:
        checkpoint.save(folder / "file", tree_of(1))
        folder.chmod(0o555)
        somebody_else = hasattr(os, "geteuid") and os.geteuid() == 0
        if somebody_else:
            try:
                os.seteuid(65534)
            except OSError:
                pytest.skip("root that cannot become somebody else")
        try:
            for save in (lambda: checkpoint.save(folder / "file", tree_of(2)), lambda: Checkpoints(folder).save(1)):
                with pytest.raises(CheckpointError, match=r"the folder can be written; .*Permission denied"):
                    save()
            assert same(folder / "file", 1)
        finally:
            if somebody_else:
                os.seteuid(0)
        assert names_in(folder) == ["file"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# Sweeping.

WRITER = """
import os, sys, time
import numpy as np
from jaxnn.checkpoint import Checkpoints

def wait(handle):
    print("half way", flush=True)
    time.sleep(600)

os.fsync = wait
Checkpoints(sys.argv[1]).save({"w": np.ones(5)})
"""


def test_a_temporary_file_goes_with_the_next_save_once_its_writer_was_killed_and_no_sooner(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert writer.stdout.readline() == "half way\n"
        (half,) = names_in(tmp_path)
        assert half.endswith(".tmp") and (tmp_path / half).stat().st_size > 40
        path = checkpoints.save(tree_of(1))
        assert names_in(tmp_path) == sorted([half, path.name])
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert names_in(tmp_path) == sorted([half, path.name]) and same(path, 1)
        path = checkpoints.save(tree_of(2))
        assert names_in(tmp_path) == [path.name]
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_files_of_other_people_are_never_swept(tmp_path):
    others = [
        "0123456789abcdef.tmp", ".0123456789abcde.tmp", ".0123456789abcdef0.tmp", ".0123456789ABCDEF.tmp",
        ".0123456789abcdef.tmp.bak", ".0123456789abcdef.tm", ".tmp", "notes.txt", ".x0123456789abcdef.tmp",
    ]  # fmt: skip
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".fedcba9876543210.tmp").mkdir()
    (tmp_path / ABANDONED).write_text("half")
    sweep(tmp_path)
    assert names_in(tmp_path) == sorted([*others, ".fedcba9876543210.tmp"])
    sweep(tmp_path / "no such folder")


def test_a_pipe_under_the_name_of_a_temporary_file_stops_nobody(tmp_path):
    os.mkfifo(tmp_path / ABANDONED)
    with disk.within(5):
        path = Checkpoints(tmp_path).save(tree_of(1))
    assert same(path, 1)


def test_a_folder_is_flushed_and_its_handle_closed(tmp_path):
    handles = open_handles()
    with recorded() as log:
        flush_folder(tmp_path)
    assert log == [("flush", str(tmp_path))] and open_handles() == handles
    with Fault("fsync", 1, full_disk()), pytest.raises(OSError, match="No space"):
        flush_folder(tmp_path)
    assert open_handles() == handles
