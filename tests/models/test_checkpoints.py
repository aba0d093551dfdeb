"""Damaged files of weights: each is refused by name, before anything of the size that it claims is allocated."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from fdpbench.models.adapters import Encoder, Sizes, read_weights
from fdpbench.models.common.checkpoints import MOST_HEADER, CheckpointError, tensor_shapes
from fdpbench.models.common.registry import ModelOptionError

FEW = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
DATA = bytes(16)


def tensor(shape: list[int], start: int = 0, dtype: str = "F32", **more: Any) -> dict[str, Any]:
    size = 4 * int(np.prod(shape, dtype=object))
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]} | more


def packed(header: object, data: bytes = DATA, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def empty_giant() -> bytes:
    """Few bytes that claim an encoder of terabytes, by tensors that hold nothing."""
    shapes = {
        "patch_embed.proj.weight": [64 * 10**6, 0, 16, 16],
        "pos_embed": [1, 10**12, 0],
        "blocks.0.mlp.fc1.weight": [10**9, 0],
    }
    return packed({name: tensor(shape) for name, shape in shapes.items()}, b"")


def thin_giant() -> bytes:
    """A tensor that is there, and is as wide as a file of 256 kB can make an encoder: whose blocks need 50 GB."""
    header = {
        "patch_embed.proj.weight": tensor([64 * 1000, 1, 1, 1]),
        "pos_embed": tensor([1, 1, 1], 256_000),
        "blocks.0.mlp.fc1.weight": tensor([1, 1], 256_004),
    }
    return packed(header, bytes(256_008))


def many_blocks() -> bytes:
    header = {"patch_embed.proj.weight": tensor([64, 1, 1, 1]), "pos_embed": tensor([1, 1, 1], 256)}
    header |= {"blocks.0.mlp.fc1.weight": tensor([1, 1], 260)}
    header |= {f"blocks.{k}.x": tensor([1], 264 + 4 * k) for k in range(9000)}
    return packed(header, bytes(264 + 36_000))


DAMAGED = {
    "no bytes": (b"", "no safetensors file"),
    "three bytes": (b"abc", "no safetensors file"),
    "length beyond the file": (packed(FEW, length=10**18), "header would have 1,000,000,000,000,000,000 bytes"),
    "length short of the header": (packed(FEW, length=12), "no safetensors file"),
    "shapes that overflow": (packed({"a": tensor([2**40, 2**40])}), "no safetensors file"),
    "negative": (packed({"a": FEW["a"] | {"shape": [-2, -2]}}), "no safetensors file"),
    "infinite": (packed(b'{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 16]}}'), "no safetensors file"),
    "type and bytes": (packed({"a": FEW["a"] | {"dtype": "F64"}}), "no safetensors file"),
    "unknown type": (packed({"a": FEW["a"] | {"dtype": "F31"}}), "no safetensors file"),
    "integers": (packed({"a": FEW["a"] | {"dtype": "I32"}}), "'a' is of type I32, expected one of BF16"),
    "data cut": (packed(FEW, DATA[:-1]), "no safetensors file"),
    "data too long": (packed(FEW, DATA + b"x"), "no safetensors file"),
    "overlapping": (packed(FEW | {"b": FEW["a"]}), "no safetensors file"),
    "the same name twice": (
        packed(json.dumps(FEW).encode()[:-1] + b"," + json.dumps(FEW).encode()[1:]),
        "'a' comes twice",
    ),
    "nested": (packed(b"[" * 100_000), "no safetensors file"),
    "metadata that is no text": (packed(FEW | {"__metadata__": {"a": 3}}), "no safetensors file"),
    "huge metadata": (packed(FEW | {"__metadata__": {"a": "x" * MOST_HEADER}}), "expected at most 1,000,000"),
    "no text": (packed(b"\xff\xfe" * 40), "no safetensors file"),
    "nothing in it": (
        packed({"a": {"dtype": "F32", "shape": [0, 10**12], "data_offsets": [0, 0]}}, b""),
        "holds nothing",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_with_its_fault(name: str, tmp_path: Path) -> None:
    data, message = DAMAGED[name]
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"weights.safetensors.*{message}"):
        tensor_shapes(path)
    with pytest.raises(ModelOptionError, match=f"^adapters: .*weights.safetensors.*{message}"):
        read_weights(path)


@pytest.mark.parametrize(("value", "named"), [(float("nan"), "not finite"), (float("inf"), "not finite"), (-0.5, None)])
def test_weights_are_finite(tmp_path: Path, value: float, named: str | None) -> None:
    state = dict(Encoder(Sizes()).state_dict())
    state["norm.bias"][3] = value
    save_file(state, tmp_path / "vit.safetensors")
    if named is None:
        assert read_weights(tmp_path / "vit.safetensors").state_dict()["norm.bias"][3] == value
        return
    with pytest.raises(ModelOptionError, match=f"vit.safetensors: tensor 'norm.bias' holds a value that is {named}"):
        read_weights(tmp_path / "vit.safetensors")


def test_the_shapes_are_those_of_the_library(tmp_path: Path) -> None:
    state = Encoder(Sizes(depth=3)).state_dict()
    save_file(state, tmp_path / "vit.safetensors", metadata={"format": "pt"})
    assert tensor_shapes(tmp_path / "vit.safetensors") == {name: tuple(value.shape) for name, value in state.items()}


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    save_file(Encoder(Sizes()).state_dict(), tmp_path / "vit.safetensors")
    data = (tmp_path / "vit.safetensors").read_bytes()
    head = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(5)
    path = tmp_path / "mutated.safetensors"
    for number in range(300):
        broken = bytearray(data)
        for position in rng.integers(8 if number % 2 else 0, head, size=rng.integers(1, 4)):
            broken[position] = rng.choice([*b'0123456789[]{},:"', int(rng.integers(256))])
        path.write_bytes(broken[: rng.integers(len(data))] if number % 5 == 0 else broken)
        try:
            read_weights(path)
        except ModelOptionError as error:
            assert "mutated.safetensors" in str(error)


def test_files_that_claim_gigabytes_need_none(tmp_path: Path) -> None:
    """In a process that may take 300 MB more than it starts with, each is refused within seconds."""
    for name, data in {"empty": empty_giant(), "thin": thin_giant(), "blocks": many_blocks()}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    assert (tmp_path / "empty.safetensors").stat().st_size < 400
    for name, (data, _) in DAMAGED.items():
        (tmp_path / f"{name}.safetensors").write_bytes(data)
    code = """
import resource, sys, time
from pathlib import Path
from fdpbench.models.adapters import read_weights
from fdpbench.models.common.registry import ModelOptionError
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 300_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
start = time.perf_counter()
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_weights(path)
    except ModelOptionError as error:
        assert path.name in str(error), error
        assert len(str(error)) < 600, error
        print(path.name)
assert time.perf_counter() - start < 20
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(DAMAGED) + 3
