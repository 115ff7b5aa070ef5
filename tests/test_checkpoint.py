"""Parameters in files: exact round trips, writes that happen whole or not at all, files that are refused."""

import hashlib
import os

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from small import bits

import jaxnn
from jaxnn import CheckpointError, checkpoint

MODEL = jaxnn.Mlp((3, 4, 2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "uint8", "bool"])
def test_every_dtype_of_jax_comes_back_bit_for_bit(dtype, tmp_path):
    values = np.array([0, 1, 2, 3, 100], jnp.dtype(dtype))
    if jnp.issubdtype(values.dtype, jnp.floating):
        values[:4] = np.array([-0.0, np.inf, -np.inf, np.nan], values.dtype)
    tree = {"a": jnp.asarray(values), "deep": [jnp.asarray(values[:1]), (jnp.asarray(values[4]),)]}
    checkpoint.save(tmp_path / "file", tree)
    back = checkpoint.load(tmp_path / "file", like=tree)
    assert bits(back) == bits(tree) and jax.tree.structure(back) == jax.tree.structure(tree)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(back))


def test_double_precision_comes_back_where_it_is_on_and_is_refused_where_it_is_off(tmp_path):
    with jax.enable_x64(True):
        tree = {"w": jnp.asarray([np.pi, 1e300, 2.0**-1000])}
        checkpoint.save(tmp_path / "file", tree)
        back = checkpoint.load(tmp_path / "file", like=tree)
        assert bits(back) == bits(tree) and back["w"].dtype == "float64"
        counts = {"n": jnp.asarray([2**40])}
        checkpoint.save(tmp_path / "counts", counts)
        assert bits(checkpoint.load(tmp_path / "counts", like=counts)) == bits(counts)
    for name, like in (("file", {"w": np.zeros(3)}), ("counts", {"n": np.zeros(1, np.int64)})):
        with pytest.raises(
            CheckpointError,
            match=r"^checkpoint\.load: this file needs 64-bit numbers; got .* is (float|int)64; .*jax_enable_x64",
        ):
            checkpoint.load(tmp_path / name, like=like)  # never rounded, never wrapped
    with pytest.raises(CheckpointError, match=r"w is float64\[3\], not float32\[3\]"):
        checkpoint.load(tmp_path / "file", like={"w": jnp.zeros(3)})


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (0,), (0, 3), (3, 0), (2, 3, 4)], ids=str)
def test_every_shape_comes_back(shape, tmp_path):
    tree = [jnp.ones(shape), np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape[::-1]).T, np.float32)]
    checkpoint.save(tmp_path / "file", tree)
    back = checkpoint.load(tmp_path / "file", like=tree)
    assert [leaf.shape for leaf in back] == [shape, shape]
    np.testing.assert_array_equal(back[1], tree[1])


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int32, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_comes_back(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "file"
    checkpoint.save(path, array)
    assert bits(checkpoint.load(path, like=np.zeros_like(array))) == bits(array)


def test_parameters_are_named_by_their_place_and_the_bytes_do_not_depend_on_the_order_of_a_dict(tmp_path):
    params = MODEL.init(0)
    checkpoint.save(tmp_path / "params", params)
    header = (tmp_path / "params").read_bytes()[8:]
    for name in (b'"0.kernel"', b'"0.bias"', b'"1.kernel"', b'"1.bias"'):
        assert name in header
    checkpoint.save(tmp_path / "a", {"x": params[0].bias, "y": params[1].bias})
    checkpoint.save(tmp_path / "b", {"y": params[1].bias, "x": params[0].bias})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_two_leaves_of_one_name_are_refused(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"^checkpoint\.save: every leaf has a name of its own; got 2 leaves a\.b; "
    ):
        checkpoint.save(tmp_path / "file", {"a": {"b": jnp.zeros(1)}, "a.b": jnp.ones(1)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("leaf", ["text", np.array(["text"]), np.array([object()]), jax.random.key(0), 1j], ids=repr)
def test_what_is_no_array_of_numbers_is_refused(leaf, tmp_path):
    with pytest.raises(CheckpointError, match=r"^checkpoint\.save: a tree holds arrays of numbers; got w "):
        checkpoint.save(tmp_path / "file", {"w": leaf})
    assert not list(tmp_path.iterdir())


# Written whole or not at all.


@pytest.mark.parametrize("call", ["fsync", "replace", "fdopen"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(call, tmp_path, monkeypatch):
    path = tmp_path / "file"
    old, new = MODEL.init(0), MODEL.init(1)
    checkpoint.save(path, old)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        CheckpointError, match=r"^checkpoint\.save: .*; got path='.*file': .*No space left.*; free space"
    ):
        checkpoint.save(path, new)
    monkeypatch.undo()
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["file"]
    checkpoint.save(path, new)
    assert bits(checkpoint.load(path, like=old)) == bits(new) and len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_while_writing_leaves_no_temporary_file(tmp_path, monkeypatch):
    def press(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", press)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path / "file", MODEL.init(0))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_or_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "no" / "params", tmp_path / "file" / "params"):
        with pytest.raises(CheckpointError, match=r"^checkpoint\.save: the folder can be written; got path="):
            checkpoint.save(path, MODEL.init(0))
    with pytest.raises(CheckpointError, match=r"^checkpoint\.save: "):
        checkpoint.save(tmp_path, MODEL.init(0))  # the path is a folder
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_saved_file_may_be_read_by_those_who_may_read_others_here(tmp_path):
    (tmp_path / "plain").write_text("x")
    checkpoint.save(tmp_path / "params", MODEL.init(0))
    assert (tmp_path / "params").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_onto_the_file_that_was_read_changes_nothing_in_memory(tmp_path):
    path = tmp_path / "file"
    checkpoint.save(path, MODEL.init(0))
    back = checkpoint.load(path, like=MODEL.init(0))
    checkpoint.save(path, jax.tree.map(lambda leaf: leaf * 0, back))
    assert bits(back) == bits(MODEL.init(0))


# Refused.


def test_every_difference_from_the_model_is_named(tmp_path):
    checkpoint.save(tmp_path / "file", jaxnn.Mlp((3, 5, 2)).init(0))
    with pytest.raises(
        CheckpointError, match=r"^checkpoint\.load: the file fits the model; got .*; load it into"
    ) as error:
        checkpoint.load(tmp_path / "file", like=(*MODEL.init(0), jnp.zeros(3, jnp.int32)))
    for difference in (
        "0.kernel is float32[3, 5], not float32[3, 4]",
        "0.bias is float32[5], not float32[4]",
        "1.kernel is float32[5, 2], not float32[4, 2]",
        "2 missing",
    ):
        assert difference in str(error.value)
    assert "1.bias" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"1\.(bias|kernel) not expected; 1\.\w+ not expected"):
        checkpoint.load(tmp_path / "file", like=jaxnn.Mlp((3, 5)).init(0))


def test_no_file_is_no_checkpoint(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"^checkpoint\.load: a whole safetensors file; got path='.*no': .*No such"
    ):
        checkpoint.load(tmp_path / "no", like=MODEL.init(0))
    with pytest.raises(CheckpointError, match=r"^checkpoint\.load: "):
        checkpoint.load(tmp_path, like=MODEL.init(0))


def small_file(path):
    tree = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int32(7)}
    checkpoint.save(path, tree)
    return tree, path.read_bytes()


def test_every_prefix_of_a_file_and_every_longer_file_is_refused(tmp_path):
    path = tmp_path / "file"
    tree, whole = small_file(path)
    for damaged in [*(whole[:n] for n in range(len(whole))), whole + b"\0", whole * 2]:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"^checkpoint\.load: a whole safetensors file; got path="):
            checkpoint.load(path, like=tree)
    path.write_bytes(whole)
    assert bits(checkpoint.load(path, like=tree)) == bits(tree)


def test_a_changed_byte_of_the_header_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "file"
    tree, whole = small_file(path)
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in range(header):
        for flip in (0x01, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            try:
                back = checkpoint.load(path, like=tree)
            except CheckpointError:
                continue
            assert [b[:2] for b in bits(back)] == [b[:2] for b in bits(tree)]


@pytest.mark.parametrize("content", [b"", b"\x80\x05N.", b"PK\x03\x04", b"\xff" * 64, b"{}", os.urandom(4096)], ids=len)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "file", like=MODEL.init(0))


def test_saving_the_same_twice_gives_the_same_bytes(tmp_path):
    digests = set()
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, MODEL.init(0))
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
