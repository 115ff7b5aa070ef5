"""Parameters in files: exact round trips, writes that happen whole or not at all, files that are refused."""

import ast
import copy
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any, NamedTuple

import disk
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from small import bits

import jaxnn
from jaxnn import CheckpointError, checkpoint
from jaxnn.checkpoint import Checkpoints
from jaxnn.checkpoint._format import CODES

MODEL = jaxnn.Mlp((3, 4, 2))


@pytest.mark.parametrize("dtype", [code for code in CODES if "64" not in code])
def test_every_dtype_of_jax_comes_back_bit_for_bit(dtype, tmp_path):
    values = any_bits(dtype, (5, 7))
    tree = {"a": jnp.asarray(values), "deep": [jnp.asarray(values[:1]), (values[4],)], "one": values[0, 0]}
    checkpoint.save(tmp_path / "file", tree)
    back = checkpoint.load(tmp_path / "file", like=tree)
    assert bits(back) == bits(tree) and jax.tree.structure(back) == jax.tree.structure(tree)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(back))


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64"])
def test_every_dtype_of_64_bits_comes_back_where_they_are_on(dtype, tmp_path, x64):
    tree = [any_bits(dtype, (5, 7)), jnp.asarray(any_bits(dtype, ()))]
    checkpoint.save(tmp_path / "file", tree)
    assert bits(checkpoint.load(tmp_path / "file", like=tree)) == bits(tree)


def any_bits(dtype, shape):
    """Return numbers of which every bit is random: NaNs of all kinds, infinities, subnormal ones."""
    dtype, rng = jnp.dtype(dtype), np.random.default_rng(3)
    size = int(np.prod(shape)) * dtype.itemsize
    data = rng.integers(0, 2 if dtype.kind == "b" else 256, size, np.uint8)
    return data.view(dtype).reshape(shape)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.arange(6, dtype=">i2"),
        np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        np.arange(24, dtype=np.int32).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(12, dtype=np.uint8)[::-3],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.ma.masked_array([1, 2], [True, False], np.float32),
        np.float32(4),
        np.array(5, ">u4"),
    ],
    ids=[
        "big-endian floats",
        "big-endian ints",
        "Fortran",
        "transposed",
        "strided",
        "broadcast",
        "masked",
        "scalar",
        "0-d",
    ],
)
def test_an_array_of_any_order_of_bytes_and_axes_comes_back_in_order_and_is_left_as_it_was(array, tmp_path):
    before = (array.dtype, array.shape, array.strides, array.tobytes())
    checkpoint.save(tmp_path / "file", {"w": array})
    assert (array.dtype, array.shape, array.strides, array.tobytes()) == before
    want = np.array(array, array.dtype.newbyteorder("="), order="C")
    assert bits(checkpoint.load(tmp_path / "file", like={"w": array})) == bits([want])
    assert bits(safetensors.numpy.load_file(tmp_path / "file")["w"]) == bits([want])


@pytest.mark.parametrize(
    "number", [0, -1, 2**63 - 1, -(2**63), 0.1, -0.0, 1e308, 5e-324, float("inf"), float("nan"), True, False], ids=repr
)
def test_a_number_of_pythons_comes_back_as_one(number, tmp_path):
    checkpoint.save(tmp_path / "file", {"a": number, "b": (number,)})
    back = checkpoint.load(tmp_path / "file", like={"a": type(number)(1), "b": (type(number)(0),)})
    for found in (back["a"], back["b"][0]):
        assert type(found) is type(number) and repr(found) == repr(number)
    checkpoint.save(tmp_path / "alone", number)
    assert repr(checkpoint.load(tmp_path / "alone", like=type(number)(1))) == repr(number)


def test_a_number_of_pythons_is_not_taken_for_another_kind(tmp_path):
    checkpoint.save(tmp_path / "file", {"a": 1, "b": 1.0, "c": True})
    with pytest.raises(
        CheckpointError, match=r"a is int64\[\], not bool\[\]; b is float64\[\], not int64\[\]; c is bool"
    ) as error:
        checkpoint.load(tmp_path / "file", like={"a": True, "b": 1, "c": 1.0})
    assert "c is bool[], not float64[]" in str(error.value)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys_come_back_as_keys_of_their_kind(impl, tmp_path):
    tree = {"one": jax.random.key(3, impl=impl), "many": jax.random.split(jax.random.key(4, impl=impl), (2, 3))}
    checkpoint.save(tmp_path / "file", tree)
    like = {"one": jax.random.key(0, impl=impl), "many": jax.random.split(jax.random.key(0, impl=impl), (2, 3))}
    back = checkpoint.load(tmp_path / "file", like=like)
    assert bits(back) == bits(tree)
    assert back["one"].dtype == tree["one"].dtype and back["many"].dtype == tree["many"].dtype
    assert back["many"].shape == (2, 3)
    assert jax.random.bits(back["one"]) == jax.random.bits(tree["one"])
    content = checkpoint.read(tmp_path / "file")
    assert content.keys == {"one": impl, "many": impl} and content.arrays["one"].dtype == np.uint32


def test_a_random_key_is_not_taken_for_another_kind(tmp_path):
    key, data = jax.random.key(3), jax.random.key_data(jax.random.key(3))
    for saved, like, words in [
        (key, jax.random.key(3, impl="rbg"), r"k is a random key of threefry2x32 in .*, not a random key of rbg"),
        (jax.random.key(3, impl="rbg"), key, r"k is a random key of rbg in .*, not a random key of threefry2x32"),
        (key, data, r"k is a random key of threefry2x32 in .*, not uint32\[2\]"),
        (data, key, r"k is uint32\[2\], not a random key of threefry2x32"),
        (
            jax.random.split(key, 3),
            key,
            r"k is random keys \[3\] of threefry.*, not a random key of threefry",
        ),
        (
            key,
            jax.random.split(key, 3),
            r"k is a random key of threefry.*, not random keys \[3\] of threefry",
        ),
        (
            jax.random.split(key, 3),
            jax.random.split(key, 4),
            r"k is random keys \[3\] of .*, not random keys \[4\] of ",
        ),
    ]:
        checkpoint.save(tmp_path / "file", {"k": saved})
        with pytest.raises(
            CheckpointError, match=rf"; got {words}.*, in path=.*; load it into what it was saved from$"
        ):
            checkpoint.load(tmp_path / "file", like={"k": like})


def test_shapes_alone_will_do_to_load_into(tmp_path):
    tree = {"w": jnp.ones((2, 3)), "k": jax.random.key(1)}
    checkpoint.save(tmp_path / "file", tree)
    back = checkpoint.load(tmp_path / "file", like=jax.eval_shape(lambda: tree))
    assert bits(back) == bits(tree) and back["k"].dtype == tree["k"].dtype


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


class Pair(NamedTuple):
    first: Any
    second: Any


LEAVES = st.one_of(
    hnp.arrays(
        st.sampled_from([np.float32, np.float16, np.int32, np.uint8, np.bool_, jnp.bfloat16]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        elements=st.integers(0, 1),
    ),
    st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.none(),
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.lists(trees, max_size=3),
        st.lists(trees, max_size=2).map(tuple),
        st.builds(Pair, trees, trees),
        st.dictionaries(st.text('ab/ é\n"\\\0_ü💾', max_size=3), trees, max_size=3),
        st.dictionaries(st.integers(-3, 3), trees, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=100)
@given(TREES)
def test_any_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("any") / "file"
    checkpoint.save(path, tree)
    back = checkpoint.load(path, like=tree)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for found, leaf in zip(jax.tree.leaves(back), jax.tree.leaves(tree), strict=True):
        if isinstance(leaf, np.ndarray):
            assert isinstance(found, jax.Array) and bits(found) == bits(leaf)
        else:
            assert type(found) is type(leaf) and repr(found) == repr(leaf)
    with open(path, "rb") as file:
        safetensors.deserialize(file.read())


@pytest.mark.parametrize(
    "name", ["__metadata__", "../../up", "/etc/passwd", "a\0b", "sha256", '"', "0" * 64, "x" * 10_000]
)
def test_a_leaf_of_any_name_comes_back_or_is_refused(name, tmp_path):
    """A name is text in the header and never a path."""
    tree = {name: np.arange(3, dtype=np.float32), "sha256": np.ones(2, np.int32)}
    outcome = None
    try:
        checkpoint.save(tmp_path / "deep", tree)
    except CheckpointError as error:
        outcome = str(error)
    if name == "__metadata__":  # of which safetensors makes something else
        assert "__metadata__" in outcome and not list(tmp_path.iterdir())
        return
    assert outcome is None
    assert bits(checkpoint.load(tmp_path / "deep", like=tree)) == bits(tree)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_json_comes_back_as_info(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "file"
    checkpoint.save(path, {}, {"value": value, '"sha256": "' + "0" * 64 + '"': 1})
    info = checkpoint.read(path).info
    assert info == {"value": value, '"sha256": "' + "0" * 64 + '"': 1} and json.dumps(info["value"]) == json.dumps(
        value
    )


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"a": float("nan")}, "Out of range float values are not JSON compliant"),
        ({"a": [float("inf")]}, "Out of range float values are not JSON compliant"),
        ({"a": np.zeros(3)}, "ndarray is not JSON serializable"),
        ({"a": jnp.zeros(3)}, "is not JSON serializable"),
        ({"a": np.float32(1)}, "float32 is not JSON serializable"),
        ({(1, 2): 3}, "keys must be"),
        ({"a": {1, 2}}, "set is not JSON serializable"),
        ([1], "not an object"),
        ("text", "not an object"),
        (3, "not an object"),
        (False, "not an object"),
    ],
    ids=repr,
)
def test_info_that_is_no_json_object_is_refused(info, why, tmp_path):
    for save in (lambda: checkpoint.save(tmp_path / "file", {}, info), lambda: Checkpoints(tmp_path).save({}, info)):
        with pytest.raises(
            CheckpointError, match=rf"save: info is a JSON object; got .*{why}.*; keep arrays in the tree$"
        ):
            save()
    assert not list(tmp_path.iterdir())


def test_info_that_holds_itself_is_refused(tmp_path):
    info = {}
    info["me"] = info
    with pytest.raises(CheckpointError, match=r"^checkpoint\.save: info is a JSON object; got .*Circular reference"):
        checkpoint.save(tmp_path / "file", {}, info)


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


@pytest.mark.parametrize(
    "leaf",
    ["text", np.array(["text"]), np.array([object()]), object(), 1j, 2**70],
    ids=lambda leaf: type(leaf).__name__,
)
def test_what_is_no_array_of_numbers_is_refused(leaf, tmp_path):
    with pytest.raises(
        CheckpointError,
        match=r"^checkpoint\.save: (a tree holds arrays of numbers, .*|a whole number has 64 bits); got w ",
    ):
        checkpoint.save(tmp_path / "file", {"w": leaf})
    assert not list(tmp_path.iterdir())


# Written whole or not at all; a fault at every call: test_whole.py.


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


@pytest.mark.parametrize("bit", range(8))
def test_a_changed_bit_anywhere_in_a_file_is_refused(bit, tmp_path):
    path = tmp_path / "file"
    _, whole = small_file(path)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        path.write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=r"^checkpoint\.read: (a whole safetensors file|a file of jaxnn's says)"
        ):
            checkpoint.read(path)


def test_bytes_that_changed_places_or_were_overwritten_are_refused(tmp_path):
    path, rng = tmp_path / "file", np.random.default_rng(0)
    _, whole = small_file(path)
    for _ in range(300):
        damaged = np.frombuffer(whole, np.uint8).copy()
        begin, end = np.sort(rng.integers(0, len(whole) + 1, 2))
        damaged[begin:end] = rng.permutation(damaged[begin:end]) if rng.random() < 0.5 else rng.integers(256)
        path.write_bytes(damaged.tobytes())
        if damaged.tobytes() != whole:
            with pytest.raises(CheckpointError):
                checkpoint.read(path)


def file_of(header, data=b"", info=None, path=None):
    """Write a safetensors file by hand; with info, it is one of jaxnn's, whose SHA-256 is right."""
    if info is not None:
        text = info if isinstance(info, str) else json.dumps(info)
        header = {"__metadata__": {"jaxnn": text, "sha256": "0" * 64}} | header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    if info is not None:
        digest = hashlib.sha256(whole).hexdigest()
        whole = whole.replace(b'"sha256": "' + b"0" * 64, b'"sha256": "' + digest.encode())
    path.write_bytes(whole)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


GOOD = {"format": 1, "info": {"a": 1}, "keys": {}}


def test_a_file_written_by_hand_after_the_description_is_read(tmp_path):
    path = file_of({"w": entry()}, np.array([1, 2], "<f4").tobytes(), GOOD, tmp_path / "file")
    content = checkpoint.read(path)
    assert content.info == {"a": 1} and content.keys == {} and bits(content.arrays) == bits({"w": np.float32([1, 2])})
    path = file_of({"w": entry()}, np.array([1, 2], "<f4").tobytes(), path=tmp_path / "foreign")
    assert checkpoint.read(path).info == {} and bits(checkpoint.read(path).arrays) == bits(content.arrays)


@pytest.mark.parametrize(
    "info",
    [
        {}, [], 3, None, "text", {"format": 1}, {"format": "1", "info": {}, "keys": {}},
        {"format": True, "info": {}, "keys": {}}, {"format": 1, "info": [], "keys": {}},
        {"format": 1, "info": {}, "keys": []}, "{", "", '{"format": NaN}', "[" * 100_000, '"\\ud800"',
    ],
    ids=lambda info: repr(info)[:40],
)  # fmt: skip
def test_a_whole_file_of_jaxnns_that_says_nonsense_is_refused(info, tmp_path):
    path = file_of({"w": entry()}, bytes(8), info if isinstance(info, str) else json.dumps(info), tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"^checkpoint\.read: "):
        checkpoint.read(path)


@pytest.mark.parametrize("metadata", [
    {"sha256": "0" * 64}, {"jaxnn": "{}"}, {"jaxnn": "{}", "sha256": "0" * 63}, {"jaxnn": "{}", "sha256": 0},
    {"jaxnn": {}, "sha256": "0" * 64}, {"jaxnn": "{}", "sha256": "\ud800" * 64}, {"jaxnn": "{}", "sha256": "é" * 64},
    {"jaxnn": json.dumps(GOOD), "sha256": ""}, {"jaxnn": json.dumps(GOOD), "sha256": " " * 64},
], ids=lambda metadata: repr(metadata)[:60])  # fmt: skip
def test_a_file_of_jaxnns_without_a_right_digest_is_refused(metadata, tmp_path):
    path = file_of({"__metadata__": metadata, "w": entry()}, bytes(8), path=tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"^checkpoint\.read: a whole safetensors file; got path="):
        checkpoint.read(path)


@pytest.mark.parametrize(("keys", "kind", "like"), [
    ({"w": "threefry2x32"}, entry("U32", (3,), (0, 12)), jax.random.key(0)),
    ({"w": "threefry2x32"}, entry("F32", (2,), (0, 8)), jax.random.key(0)),
    ({"w": "threefry2x32"}, entry("U32", (), (0, 4)), jax.random.key(0)),
    ({"w": "rbg"}, entry("U32", (2,), (0, 8)), jax.random.key(0, impl="rbg")),
    ({"w": "nonsense"}, entry("U32", (2,), (0, 8)), jax.random.key(0)),
    ({"w": 7}, entry("U32", (2,), (0, 8)), jax.random.key(0)),
    ({"w": ["threefry2x32"]}, entry("U32", (2,), (0, 8)), jax.random.key(0)),
    ({"w": "threefry2x32"}, entry("F32", (2,), (0, 8)), np.zeros(2, np.float32)),
], ids=repr)  # fmt: skip
def test_a_file_whose_random_keys_are_none_is_refused(keys, kind, like, tmp_path):
    size = kind["data_offsets"][1]
    path = file_of({"w": kind}, bytes(size), {"format": 1, "info": {}, "keys": keys}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"^checkpoint\.load: "):
        checkpoint.load(path, like={"w": like})


def test_a_newer_format_is_named_and_its_file_is_not_taken_for_a_damaged_one(tmp_path):
    Checkpoints(tmp_path).save({"a": 1})
    path = tmp_path / "00000002-abcd.safetensors"
    file_of({}, b"", {"format": 2, "info": {}, "keys": {}, "more": 1}, path)
    words = r"this jaxnn reads checkpoints up to format 1; got 2 in path='.*00000002.*'; install a newer jaxnn$"
    for name, call in [
        ("checkpoint.read", lambda: checkpoint.read(path)),
        ("checkpoint.load", lambda: checkpoint.load(path, like={"a": 1})),
        ("Checkpoints.latest", lambda: Checkpoints(tmp_path).latest({"a": 1})),
    ]:
        with pytest.raises(CheckpointError, match=rf"^{name}: {words}"):
            call()


# Files of the package `safetensors`, and the files it refuses.


def specified(array):
    """Return an array as the package takes it, of any dtype."""
    return safetensors.TensorSpec(
        dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
    )


def test_files_of_the_package_safetensors_are_read_and_ours_by_it(tmp_path):
    tree = {dtype: any_bits(dtype, (3, 4)) for dtype in CODES} | {"empty": np.zeros((0, 3), np.float32)}
    safetensors.serialize_file(
        {name: specified(a) for name, a in tree.items()}, tmp_path / "theirs", {"made": "elsewhere"}
    )
    content = checkpoint.read(tmp_path / "theirs")
    assert (content.info, content.keys) == ({}, {}) and content.arrays.keys() == tree.keys()
    assert bits(content.arrays) == bits(tree)
    checkpoint.save(tmp_path / "ours", tree, {"why": "é"})
    found = dict(safetensors.deserialize((tmp_path / "ours").read_bytes()))
    assert found.keys() == tree.keys()
    for name, array in tree.items():
        assert (found[name]["dtype"], tuple(found[name]["shape"])) == (CODES[array.dtype.name], array.shape)
        assert bytes(found[name]["data"]) == array.tobytes()
    plain = {name: array for name, array in tree.items() if array.dtype.isbuiltin == 1}
    checkpoint.save(tmp_path / "plain", plain)
    assert len(plain) > 10 and bits(safetensors.numpy.load_file(tmp_path / "plain")) == bits(plain)
    safetensors.numpy.save_file(plain, tmp_path / "plain")
    assert bits(checkpoint.read(tmp_path / "plain").arrays) == bits(plain)
    with jax.enable_x64(True):
        assert bits(checkpoint.load(tmp_path / "plain", like=plain)) == bits(plain)


def test_every_tensor_begins_at_a_multiple_of_the_size_of_its_numbers(tmp_path):
    tree = {f"{i}": any_bits(dtype, (3,)) for i, dtype in enumerate(CODES)}
    checkpoint.save(tmp_path / "file", tree)
    whole = (tmp_path / "file").read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    assert length % 8 == 0
    assert all(header[name]["data_offsets"][0] % array.itemsize == 0 for name, array in tree.items())


BASE = {
    "__metadata__": {"made": "by hand"},
    "a": entry("F32", (2, 1), (0, 8)), "b": entry("U8", (3,), (8, 11)), "c": entry("I16", (0,), (11, 11)),
    "d": entry("F64", (), (11, 19)),
}  # fmt: skip
JUNK = [
    None, True, False, 0, 1, -1, 2, 8, 11, 19, 20, 2**31, 2**32, 2**62, 2**63, 2**64, 10**30, 1.0, 0.5, 1e999, "",
    "F32", "F64", "U8", "I64", "f32", "X", [], [0], [0, 8], [8, 0], [0, 0], [1, 9], [0, 8, 16], [2**62, 2**62, 0],
    [2**63, 2], [0, 2**62, 2**62], [[]], {}, {"a": 1}, [-1], [1.0], ["2"], [None], [True], [[2]], "\ud800", "é", "\0",
    BASE["a"],
]  # fmt: skip


def mutants(count, seed):
    """Yield headers of a file with 19 bytes of data, most of them wrong."""
    rng = random.Random(seed)
    yield json.dumps(BASE).encode()
    for _ in range(count):
        header = copy.deepcopy(BASE)
        if rng.random() < 0.6:
            for _ in range(rng.choice([1, 1, 2])):
                place = rng.choice([header, *(v for v in header.values() if isinstance(v, dict))])
                names = [*place, "new", "x" * rng.randint(0, 9)]
                change = rng.random()
                if change < 0.7:
                    place[rng.choice(names)] = rng.choice(JUNK)
                elif place:
                    value = place.pop(rng.choice(list(place)))
                    if change < 0.85:
                        place[rng.choice([*names, "../../x", "\ud800"])] = value
        text = bytearray(json.dumps(header, ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass"))
        if rng.random() < 0.6:
            for _ in range(rng.choice([1, 1, 1, 3])):
                at = rng.randrange(len(text))
                piece = rng.choice([
                    b"", b" ", b"\0", b"\xff", b"\xc3", b"{", b"}", b"[", b"]", b",", b":", b'"', b"0", b"1", b"9",
                    b"-", b".", b"e", b"NaN", b"Infinity", b"null", b"\n", b"\\", b"\xef\xbb\xbf", b'"a": 1,',
                    b"[" * 200, bytes([rng.randrange(256)]), bytes(text[at : at + rng.randint(1, 60)]) * 2,
                ])  # fmt: skip
                text[at : at + rng.choice([0, 1, 1, len(piece)])] = piece
        yield bytes(text)


def test_what_the_package_safetensors_refuses_is_refused_here(tmp_path):
    path, counts, differ = tmp_path / "file", {}, []
    for text in mutants(2500, seed=1):
        file_of(text, bytes(range(1, 20)), path=path)
        try:
            theirs = dict(safetensors.deserialize(path.read_bytes()))
        except safetensors.SafetensorError:
            theirs = None
        try:
            ours = checkpoint.read(path).arrays
        except CheckpointError:
            ours = None
        counts[theirs is not None, ours is not None] = counts.get((theirs is not None, ours is not None), 0) + 1
        if ours is not None and (theirs is None or not agree(ours, theirs)):
            differ.append(text)
    assert not differ, f"{len(differ)} differ, the first of them {differ[:5]}"
    assert counts[True, True] > 100 and counts[False, False] > 500, counts


def agree(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        (CODES[array.dtype.name], list(array.shape), array.tobytes())
        == (theirs[name]["dtype"], list(theirs[name]["shape"]), bytes(theirs[name]["data"]))
        for name, array in ours.items()
    )


def test_arrays_that_differ_in_a_byte_a_shape_or_a_name_do_not_agree():
    theirs = dict(safetensors.deserialize(safetensors.numpy.save({"a": np.frombuffer(b"ab", np.uint8)})))
    assert agree({"a": np.frombuffer(b"ab", np.uint8)}, theirs)
    for other in ({"a": b"ac"}, {"b": b"ab"}, {}):
        assert not agree({name: np.frombuffer(data, np.uint8) for name, data in other.items()}, theirs)
    assert not agree({"a": np.frombuffer(b"ab", np.uint8)[None]}, theirs)
    assert not agree({"a": np.frombuffer(b"ab", np.int8)}, theirs)


@pytest.mark.parametrize(("header", "data", "why"), [
    (b'{"a": %b, "a": %b}' % ((json.dumps(entry()).encode(),) * 2), bytes(8), "a name occurs twice"),
    (b'{"a": {"dtype": "F32", "dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8), "a name occurs twice"),
    ({"a": entry(), "b": entry()}, bytes(8), "overlap or leave a gap at byte 8"),
    ({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12), "overlap or leave a gap at byte 8"),
    ({"a": entry(), "b": entry(offsets=(9, 17))}, bytes(17), "overlap or leave a gap at byte 8"),
    ({"a": entry(offsets=(4, 12))}, bytes(12), "overlap or leave a gap at byte 0"),
    ({"a": entry()}, bytes(9), "9 bytes of tensors, 8 are described"),
    ({}, bytes(1), "1 bytes of tensors, 0 are described"),
    ({"a": entry()}, bytes(7), "does not fit in its place"),
    ({"a": entry(offsets=(8, 0))}, bytes(8), "does not fit in its place"),
    ({"a": entry(shape=(3,))}, bytes(8), "does not fit in its place"),
    ({"a": entry(shape=(2**62, 2**62))}, bytes(8), "does not fit in its place"),
    ({"a": entry(shape=(2**32, 2**32), offsets=(0, 0))}, b"", "does not fit in its place"),
    ({"a": entry(shape=(1,) * 100, offsets=(0, 4))}, bytes(4), "has no shape and place"),
    ({"a": entry(shape=(-2,))}, bytes(8), "has no shape and place"),
    ({"a": entry(shape=(2.0,))}, bytes(8), "has no shape and place"),
    ({"a": entry(shape=(True, 2))}, bytes(8), "has no shape and place"),
    ({"a": entry(dtype="F4")}, bytes(8), "unknown type"),
    ({"a": entry(dtype=["F32"])}, bytes(8), "unknown type"),
    ({"a": {}}, b"", "has no shape and place"),
    ({"a": 3}, b"", "does not describe tensors"),
    ({"__metadata__": {"a": 1}}, b"", "its metadata are not text"),
    ({"__metadata__": []}, b"", "does not describe tensors"),
    ([], b"", "does not describe tensors"),
    (b"NaN", b"", "NaN is no JSON"),
    (b'{"a": NaN}', b"", "NaN is no JSON"),
    (b'{"a": -Infinity}', b"", "-Infinity is no JSON"),
    (b'{"\xff": 1}', b"", "its header is no JSON"),
    (b"\xff\xfe{\0}\0", b"", "its header is no JSON"),
    (b'{"a": ' + b"[" * 100_000, b"", "its header is no JSON"),
    (b'{"a": ' + b'{"a": ' * 50_000, b"", "its header is no JSON"),
    (b'{"a": ' + b"9" * 5000 + b"}", b"", "its header is no JSON"),
    ({"a": entry("BOOL", (2,), (0, 2))}, b"\1\2", "a boolean that is neither 0 nor 1"),
    (b"{", b"", "do not begin with the length of a header"),
], ids=lambda value: repr(value)[:50])  # fmt: skip
def test_a_header_that_lies_is_refused_by_name(header, data, why, tmp_path):
    for path in (tmp_path / "foreign", tmp_path / "00000001-abcd.safetensors"):
        file_of(header, data, path=path)
        with (
            disk.within(2),
            pytest.raises(CheckpointError, match=rf"^checkpoint\.read: a whole .*{why}.*; save it again") as e,
        ):
            checkpoint.read(path)
        assert len(str(e.value)) < 2000
    with pytest.raises(CheckpointError, match=rf"^Checkpoints\.latest: .*{why}"):
        Checkpoints(tmp_path).latest({})
    Checkpoints(tmp_path).save({})  # and it is pruned like any other


@pytest.mark.parametrize("name", ["claims", "offsets", "header", "lengths", "sparse", "axes", "many"])
def test_a_small_file_that_claims_to_be_huge_is_refused_at_once_and_in_little_memory(name, tmp_path):
    path = tmp_path / "file"
    huge = 10**10
    if name == "claims":
        file_of({"a": entry(shape=(huge,), offsets=(0, 4 * huge))}, bytes(10_000), path=path)
    elif name == "offsets":
        file_of({"a": entry(shape=(2500,), offsets=(4 * huge - 10_000, 4 * huge))}, bytes(10_000), path=path)
    elif name == "header":
        path.write_bytes((99_999_999).to_bytes(8, "little") + b'{"a":' * 2000)
    elif name == "lengths":
        path.write_bytes(b"\xff" * 8 + b"{" * 10_000)
    elif name == "sparse":  # 40 GB by its size, hardly any on the disk
        file_of({"a": entry(shape=(2500,), offsets=(0, 10_000))}, bytes(10_000), path=path)
        os.truncate(path, 4 * huge)
    elif name == "axes":
        file_of({"a": entry(shape=(2**62,) * 100_000, offsets=(0, 0))}, path=path)
    else:
        file_of({f"{i}": entry(shape=(0, 2**62), offsets=(0, 0)) for i in range(1000)}, path=path)
    tracemalloc.start()
    try:
        begin = time.perf_counter()
        with disk.within(5), pytest.raises(CheckpointError) as error:
            checkpoint.read(path)
        seconds, peak = time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 5 and peak < 100e6 and len(str(error.value)) < 2000, (seconds, peak)


# Files that are none, and files that would run a program.


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("suffix", [".safetensors", ".pkl", ".npz", ".npy", ".pt", ""])
def test_a_file_that_would_run_a_program_is_refused_and_nothing_runs(suffix, tmp_path):
    trap = tmp_path / "trap"
    evil = np.empty(1, object)
    evil[0] = Payload(str(trap))
    np.save(tmp_path / "evil.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "evil.npz", w=evil, allow_pickle=True)
    pickled = (tmp_path / "evil.npy").read_bytes().partition(b"\n")[2]
    assert pickled[:1] == b"\x80"  # as every pickle of today begins
    (tmp_path / "evil.pkl").write_bytes(pickled)
    sources = list(tmp_path.glob("evil*"))
    assert len(sources) == 3
    folder = tmp_path / "folder"
    folder.mkdir()
    for number, source in enumerate(sources, 1):
        target = folder / (f"{number:08d}-abcd.safetensors" if suffix == ".safetensors" else f"file{number}{suffix}")
        shutil.copy(source, target)
        with pytest.raises(CheckpointError):
            checkpoint.load(target, like={"w": 1})
        with pytest.raises(CheckpointError):
            checkpoint.read(target)
        if suffix == ".safetensors":
            with pytest.raises(CheckpointError):
                Checkpoints(folder).latest({"w": 1})
    assert not trap.exists()
    np.load(tmp_path / "evil.npy", allow_pickle=True)  # what it does where somebody lets it
    assert trap.exists()


def test_no_unpickler_is_named_in_the_rooms_that_read_checkpoints():
    root = Path(checkpoint.__file__).parent
    for path in [*root.glob("*.py"), root.parent / "_whole.py"]:
        tree = ast.parse(path.read_text())
        names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & {"pickle", "marshal", "shelve", "dill", "joblib", "load_library", "eval", "exec"}


def test_what_is_no_ordinary_file_is_refused_without_waiting_and_without_losing_a_handle(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "to the pipe").symlink_to(tmp_path / "pipe")
    handles = disk.open_handles()
    for name in [*os.listdir(tmp_path), "/dev/zero", "/dev/null", "none", "x" * 300]:
        with (
            disk.within(5),
            pytest.raises(CheckpointError, match=r"^checkpoint\.read: a whole safetensors file; got path="),
        ):
            checkpoint.read(tmp_path / name)
    assert disk.open_handles() == handles


def test_a_link_to_a_file_is_read_and_replaced_by_a_file_when_it_is_saved_to(tmp_path):
    checkpoint.save(tmp_path / "file", {"a": 1})
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert checkpoint.load(tmp_path / "link", like={"a": 0}) == {"a": 1}
    checkpoint.save(tmp_path / "link", {"a": 2})
    assert checkpoint.load(tmp_path / "link", like={"a": 0}) == {"a": 2}


@pytest.mark.parametrize("path", [3, None, b"bytes", ["a"], 1.5], ids=repr)
def test_what_is_no_path_is_refused(path):
    for name, call in [
        ("save", lambda: checkpoint.save(path, {})),
        ("load", lambda: checkpoint.load(path, {})),
        ("read", lambda: checkpoint.read(path)),
    ]:
        with pytest.raises(
            CheckpointError, match=rf"^checkpoint\.{name}: path is a path; got path=.*; pass text or a Path$"
        ):
            call()


def test_a_path_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"^checkpoint\.save: the folder can be written; got path="):
        checkpoint.save(tmp_path / ("x" * 300), {"a": 1})
    for name, call in (("save", checkpoint.save), ("load", checkpoint.load)):
        with pytest.raises(CheckpointError, match=rf"^checkpoint\.{name}: path is a path; got path="):
            call(tmp_path / "a\0b", {"a": 1})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("leaf", ["text", object(), 1j], ids=["text", "object", "complex"])
def test_nothing_is_loaded_into_what_is_no_array(leaf, tmp_path):
    checkpoint.save(tmp_path / "file", {"w": 1.0})
    with pytest.raises(CheckpointError, match=r"^checkpoint\.load: "):
        checkpoint.load(tmp_path / "file", like={"w": leaf})


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x05N.", b"PK\x03\x04", b"\xff" * 64, b"{}", bytes(4096), os.urandom(4096)], ids=len
)
def test_other_files_are_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "file", like=MODEL.init(0))


# Devices.

DEVICES = """
import hashlib, sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from jaxnn import checkpoint

path, count, save = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "save"
assert jax.device_count() == count
mesh = Mesh(np.array(jax.devices()).reshape(-1, 2), ("a", "b"))
specs = {"w": P("a", "b"), "v": P(("a", "b")), "r": P(), "k": P("b")}
like = {"w": np.zeros((8, 16), np.float32), "v": np.zeros(16, np.int32), "r": np.zeros(3, np.float16)}
if save:
    tree = {name: np.random.default_rng(0).normal(size=a.shape).astype(a.dtype) for name, a in like.items()}
    tree["k"] = jax.random.split(jax.random.key(5), 4)
    tree = {name: jax.device_put(leaf, NamedSharding(mesh, specs[name])) for name, leaf in tree.items()}
    assert len(tree["w"].sharding.device_set) == count and not tree["w"].is_fully_replicated
    checkpoint.save(path, tree)
like["k"] = jax.random.split(jax.random.key(0), 4)
back = checkpoint.load(path, like=like)
assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(back))
for tree in (back, {name: jax.device_put(leaf, NamedSharding(mesh, specs[name])) for name, leaf in back.items()}):
    data = [jax.random.key_data(tree[name]) if name == "k" else tree[name] for name in sorted(tree)]
    print(hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in data)).hexdigest())
"""


def test_what_was_saved_on_four_devices_is_loaded_on_any_number_of_them(tmp_path):
    path = tmp_path / "file"

    def start(count, what):
        flags = f"--xla_force_host_platform_device_count={count}"
        command = [sys.executable, "-W", "error", "-c", DEVICES, str(path), str(count), what]
        env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=Path(__file__).parent.parent)

    def digests(child):
        text, _ = child.communicate(timeout=60)
        assert child.returncode == 0
        return text.split()

    saved = digests(start(4, "save"))
    others = [start(2, "load"), start(8, "load")]
    shapes = {"w": ((8, 16), np.float32), "v": (16, np.int32), "r": (3, np.float16)}
    tree = {name: np.random.default_rng(0).normal(size=shape).astype(dtype) for name, (shape, dtype) in shapes.items()}
    tree["k"] = jax.random.split(jax.random.key(5), 4)
    assert bits(checkpoint.load(path, like=tree)) == bits(tree)  # on the one device of this process
    here = hashlib.sha256(
        b"".join(data for _, _, data in bits({name: tree[name] for name in sorted(tree)}))
    ).hexdigest()
    assert saved == digests(others[0]) == digests(others[1]) == [here, here]


def test_saving_the_same_twice_gives_the_same_bytes(tmp_path):
    digests = set()
    for name in ("a", "b"):
        checkpoint.save(tmp_path / name, MODEL.init(0))
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
