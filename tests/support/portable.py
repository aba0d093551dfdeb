"""What `tests.test_portable` runs on emulated processors, in one process: `python -m tests.support.portable WHAT
FOLDER`.

WHAT is ``pipeline``, every stage of params.yaml in FOLDER; ``steps``, one rendered clip with its crops and flow, and
two training steps of some networks; ``videos``, the frames of all videos in FOLDER/videos; or ``networks``, training
steps of all. Prints a JSON object of hashes by name.

qemu-user emulates the process it starts, while that one's children run on the machine itself. So stages run one after
the other in this process, and the workers that they start are started by the emulator too: FDPBENCH_EMULATOR is its
command. Every process that imports this module, workers among them, first asks the processor for its name, and ends
if it is not the one that FDPBENCH_EMULATED names.
"""

from __future__ import annotations

from fdpbench.arithmetic import pin_arithmetic

pin_arithmetic()

# ruff: noqa: E402
import ctypes
import hashlib
import json
import mmap
import multiprocessing
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

# A shallow one, the one with most kinds of layers, and those that were not the same before.
SOME_NETWORKS = ("ststnet", "fdp", "elrcn", "capsulenet")

EMULATOR, EMULATED = "FDPBENCH_EMULATOR", "FDPBENCH_EMULATED"

# cpuid as a function of (leaf, address of four 32-bit registers); /proc/cpuinfo always shows the machine's own
CPUID = bytes.fromhex("53 89f8 31c9 4989f0 0fa2 418900 41895804 41894808 4189500c 5b c3")


def processor_name() -> str:
    """Brand of the processor that this process runs on, emulated or not."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(CPUID)
    registers = (ctypes.c_uint32 * 4)()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    cpuid = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p)(address)
    name = b""
    for leaf in (0x80000002, 0x80000003, 0x80000004):
        cpuid(leaf, ctypes.addressof(registers))
        name += bytes(registers)
    return name.rstrip(b"\0 ").decode()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that the stages wrote, by path, in order of path."""
    found = {}
    for place in ("data", "artifacts", "results"):
        for path in sorted((folder / place).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith("artifacts/machine/"):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run_pipeline() -> dict[str, str]:
    """Run every stage of params.yaml in the working directory, in order of the data flow, one worker at a time."""
    from fdpbench.commands import app
    from fdpbench.prep.settings.params import read_params

    params = read_params()
    stages: list[tuple[str, ...]] = [("synthesize", "--jobs=1"), ("index", "synthetic")]
    stages += [("align", "synthetic", "--jobs=1")]
    stages += [("flow", "synthetic"), ("dynamic", "synthetic"), ("task", "synthetic")]
    stages += [("train", run, "--jobs=1") for run in params["runs"]]
    stages += [("evaluate",), ("tables",), ("gallery",), ("report",)]
    for arguments in stages:
        print(*arguments, file=sys.stderr, flush=True)
        app(arguments, standalone_mode=False)
    return hashes(Path())


def run_steps() -> dict[str, str]:
    """Render a clip, align it in every mode, compute flow by every method and statistics, train some networks."""
    import cv2
    import numpy as np

    from fdpbench.bench.evaluate.bootstrap import intervals
    from fdpbench.bench.evaluate.perception import similarity
    from fdpbench.models import list_models, model_info
    from fdpbench.models.common.conformance.estimators import arrays, build
    from fdpbench.prep.align import geometry
    from fdpbench.prep.align.faces import FaceMesh
    from fdpbench.prep.align.placing import place
    from fdpbench.prep.demo.corpus.planner import plan_people
    from fdpbench.prep.demo.corpus.table import generate
    from fdpbench.prep.demo.synth import plan_release, write_clip
    from fdpbench.prep.dynamic import tim
    from fdpbench.prep.dynamic.rank_pooling import dynamic_image
    from fdpbench.prep.dynamic.rank_pooling_exact import fernando, rank_svm
    from fdpbench.prep.flow.methods import METHODS, flow_field
    from fdpbench.prep.settings.align import AlignParams
    from fdpbench.prep.settings.corpus import CorpusParams
    from fdpbench.prep.settings.params import read_params
    from fdpbench.prep.settings.section import section
    from fdpbench.prep.settings.synth import SynthParams
    from fdpbench.prep.store import images

    found: dict[str, str] = {}

    def note(name: str, *arrays: object) -> None:
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        found[name] = hashlib.sha256(content).hexdigest()

    cv2.setNumThreads(1)
    params = read_params()
    synth = section(SynthParams, params["synth"], "synth")
    plan = plan_release(synth)[0]
    write_clip(plan, synth.size, Path("clip"))
    frames = [images.read_image(path) for path in sorted(Path("clip").rglob("*.png"))]
    note("frames", *frames)

    finder, grey = FaceMesh(), frames[::8]
    for mode in ("first_frame", "ecc", "per_frame"):
        how = section(AlignParams, params["align"] | {"mode": mode}, "align")
        placed = list(place(frames[::8], how, finder))
        for interpolation in ("linear", "cubic", "lanczos"):
            grey = [
                geometry.to_grey(geometry.warp(one.frame, one.transform, how.size, interpolation)) for one in placed
            ]
            points = [one.landmarks for one in placed if one.landmarks is not None]
            note(f"align {mode} {interpolation}", *grey, *points)
    for method in METHODS:
        note(f"flow {method}", flow_field(grey[0], grey[-1], method))
    clip = np.stack(grey)
    note("tim", tim.interpolate(clip, 7))
    note("dynamic image", dynamic_image(clip))
    note("exact rank pooling", rank_svm(clip[:, ::16, ::16], 5.0), fernando(clip[:, ::16, ::16]))
    alike = similarity(grey[0] / 255, grey[-1] / 255)
    note("similarity of images", alike.psnr, alike.ssim)

    confusions = np.random.default_rng(3).integers(1, 5, size=(2, 9, 3, 3))  # (R, S, C, C)
    for figure, one in intervals(confusions, resamples=200).items():
        note(f"interval {figure}", one.low, one.high)

    classes = np.arange(12) % 3
    # the SVM behind features is part of `pipeline`: numpy's argsort, which scikit-learn calls for these labels, crashes
    # in qemu 7.2
    for name in list_models():
        if model_info(name).hand_crafted:
            note(f"features {name}", build(name, seed=5).features(arrays(name, classes)))
    for generator in ("flow", "frames"):
        corpus = CorpusParams(generator=generator, identities=1, clips_per_identity=2, seed=1)
        rows = [row for person in plan_people(corpus) for row in generate("corpus", person, corpus)]
        note(f"corpus {generator}", np.frombuffer(repr(rows).encode(), np.uint8))
    return found | train_networks(SOME_NETWORKS)


def run_videos() -> dict[str, str]:
    """Hashes of the frames of each video in the working directory's folder ``videos``."""
    from fdpbench.prep.store.videos import read_video

    found = {}
    for path in sorted(Path("videos").iterdir()):
        digest = hashlib.sha256()
        for frame in read_video(path):
            digest.update(frame.image.tobytes())
        found[path.name] = digest.hexdigest()
    return found


def train_networks(names: Iterable[str]) -> dict[str, str]:
    """Hashes of the weights of networks after two training steps."""
    import torch

    from fdpbench.bench.train.step import set_up_torch
    from fdpbench.models.common.conformance.modules import batch, build

    # not before: qemu 7.2 flushes the half-precision denormals of the face models, where processors do not
    set_up_torch(torch.device("cpu"), deterministic=True)
    found = {}
    for name in names:
        network, (tensors, labels, targets) = build(name), batch(name, 4)
        adam = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        for _ in range(2):
            adam.zero_grad()
            sum(network.loss(network(**tensors), labels, targets).values()).backward()
            adam.step()
        weights = b"".join(value.detach().contiguous().numpy().tobytes() for value in network.state_dict().values())
        found[f"network {name}"] = hashlib.sha256(weights).hexdigest()
    return found


def run(what: str) -> dict[str, str]:
    """Do what the command line asks for, in the working directory."""
    if what == "networks":
        from fdpbench.models import list_models, model_info

        return train_networks(name for name in list_models() if model_info(name).kind == "module")
    return {"pipeline": run_pipeline, "steps": run_steps, "videos": run_videos}[what]()


wanted = os.environ.get(EMULATED)
if wanted and wanted not in processor_name():
    raise SystemExit(f"this process runs on {processor_name()}, not on {wanted}")

if __name__ == "__main__":
    what, folder = sys.argv[1:]
    os.chdir(folder)
    if os.environ.get(EMULATOR):
        wrapper = Path("python.sh").absolute()
        wrapper.write_text(f'#!/bin/sh\nexec {os.environ[EMULATOR]} {shlex.quote(sys.executable)} "$@"\n')
        wrapper.chmod(0o755)
        multiprocessing.set_executable(str(wrapper))
    print(json.dumps(run(what), indent=0))
