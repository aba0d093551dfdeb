"""What a GPU is worth to this project, as one table for each question.

    python benchmarks/gpu.py [--task data/task/synthetic] [--only steps,folds,loso,repeat,batched] [--seconds 2]

* steps: clips a second, forward and in training, and memory, of `fdp` and `fdp_released`, in float32, TF32 and
  bfloat16, channels-last or not, compiled or not, beside the way of the released code, one frame index at a time.
* folds: folds a minute with 1, 2, 4 and 8 trained at a time, each in a process of its own.
* loso: all folds of STSTNet and of `fdp` on a task, on the CPU and on the device: time, UF1, how many labels differ.
* repeat: the same fold twice with ``deterministic: true``, weights compared byte by byte, and held against the CPU's.
* batched: many STSTNets trained as one network by `torch.func`, beside as many one after the other in one process.

`--device cpu` runs all of it without a GPU, slowly, which says whether it works. The last line is one JSON object.
Clips are noise but for loso and repeat, which take those of `--task`, or noise without it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fdpbench.arithmetic import pin_arithmetic  # noqa: E402

pin_arithmetic()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from tabulate import tabulate  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.train_step import FrameByFrame  # noqa: E402
from fdpbench.bench.evaluate.metrics import metric_of  # noqa: E402
from fdpbench.bench.train.data import ClipSet, load_clips, load_task_info  # noqa: E402
from fdpbench.bench.train.fit_module import FittedModule, fit_module  # noqa: E402
from fdpbench.bench.train.seeds import seed_of  # noqa: E402
from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry, TrainParams  # noqa: E402
from fdpbench.bench.train.step import TrainStep, autocast, set_up_torch  # noqa: E402
from fdpbench.models.common.local_global import DropPath  # noqa: E402
from fdpbench.models.common.registry import create_model, model_info  # noqa: E402
from fdpbench.prep.runtime.workers import available_cpus  # noqa: E402
from fdpbench.prep.settings.task import TaskParams  # noqa: E402

CLASSES, SUBJECTS = 3, 10
AT_ONCE = (1, 2, 4, 8)
NETWORKS = (64, 256)  # trained as one
STEPS: dict[str, tuple[str, dict[str, Any], int]] = {  # name: model, its options, side of frames
    "fdp tiny": ("fdp", {"preset": "tiny"}, 96),
    "fdp small": ("fdp", {"preset": "small"}, 96),
    "fdp paper": ("fdp", {"preset": "paper"}, 64),
    "fdp_released": ("fdp_released", {}, 64),
}


def noise(model: str, clips: int, side: int = 96) -> ClipSet:
    """Clips of noise with what a model reads and compares with."""
    rng, info = np.random.default_rng(0), model_info(model)
    shapes = {"frames": (8, 1, side, side), "dynamic_image": (1, side, side), "flow": (3, 28, 28)}
    inputs: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys((*info.inputs, *info.targets)):
        shape = (clips, *shapes[name])
        inputs[name] = rng.random(shape, np.float32) if name == "flow" else rng.integers(0, 256, shape, np.uint8)
    subjects = tuple(f"noise/s{k % SUBJECTS:02d}" for k in range(clips))
    return ClipSet(tuple(f"{one}/c{k}" for k, one in enumerate(subjects)), subjects, np.arange(clips) % CLASSES, inputs)


def run_for(name: str, device: str, precision: str = "float32", **changed: Any) -> Run:
    """A run by the model's recipe, deterministic, but for some settings; None leaves the recipe's."""
    info = model_info(name)
    assert info.recipe
    recipe = info.recipe.model_dump()
    recipe["model"] = recipe.pop("options")
    settings = ModelSettings(**recipe | {key: value for key, value in changed.items() if value is not None})
    train = TrainParams.model_validate(
        {"seed": 1, "repetitions": 1, "device": device, "precision": precision, "deterministic": True}
    )
    task = TaskParams.model_validate(
        {
            "releases": ["noise"],
            "classes": {str(k): [str(k)] for k in range(CLASSES)},
            "flow": {"size": 28, "scaling": "per_image"},
            "sampling": {"rule": "uniform", "frames": 8},
            "rank_pooling": "harmonic",
        }
    )
    return Run("gpu", "noise", task, RunEntry(task="noise", model=name), info, settings, train)


def silent(message: dict[str, Any]) -> None:
    """Take a training's reports."""


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pace(work: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """How often a second something can be done: after two times, for as long as `seconds`."""
    for _ in range(2):
        work()
    wait_for(device)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        work()
        wait_for(device)
        count += 1
    return count / (time.perf_counter() - start)


def steps(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows: clips a second and memory of a training step and of a forward pass."""
    device = torch.device(options.device)
    ways: dict[str, dict[str, Any]] = {
        "one frame index at a time": {"by_frame": True, "last": False},
        "float32, default layout": {"last": False},
        "float32": {},
        "TF32": {"tf32": True},
        "bfloat16": {"precision": "bfloat16"},
        "bfloat16, compiled": {"precision": "bfloat16", "compiled": True},
    }
    for name in options.models:
        model, chosen, side = STEPS[name]
        clips, reference = noise(model, options.clips, side), 0.0
        for way, how in ways.items():
            if how.get("by_frame") and model != "fdp":  # fdp_released does so by itself
                continue
            run = run_for(
                model, options.device, how.get("precision", "float32"), model=chosen, batch_size=options.clips
            )
            set_up_torch(device, False)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = bool(how.get("tf32"))
            torch.manual_seed(0)
            shapes = {each: clips.shapes[each] for each in run.model.inputs}
            network = (
                FrameByFrame(CLASSES, shapes=shapes, **chosen)
                if how.get("by_frame")
                else create_model(model, CLASSES, shapes=shapes, **chosen)
            )
            for module in network.modules():
                if isinstance(module, DropPath) and how.get("by_frame"):
                    module.frames = 1
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            step = TrainStep(run, network.to(device).train(), clips, device)
            if not how.get("last", True):
                for parameter in network.parameters():
                    parameter.data = parameter.data.contiguous()
            if how.get("compiled"):
                network.compile()
            batch = torch.arange(options.clips, device=device)
            try:
                trained = options.clips * pace(partial(step, batch), device, options.seconds)
            except RuntimeError as error:  # no compiler here, or too little memory
                yield {"model": name, "way": way, "training, clips/s": str(error).strip().splitlines()[0][:80]}
                continue
            memory: Any = torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else "-"
            inputs = step.standardiser({each: step.tensors[each] for each in run.model.inputs})
            network.eval()

            @torch.no_grad()
            def forward(network: Any = network, inputs: Any = inputs, run: Run = run) -> None:
                with autocast(run, device):
                    network(**inputs)

            seen = options.clips * pace(forward, device, options.seconds)
            reference = reference or trained
            yield {
                "model": name,
                "way": way,
                "training, clips/s": round(trained, 1),
                "times the first": round(trained / reference, 2),
                "forward, clips/s": round(seen, 1),
                "memory, MiB": memory,
            }


def one_fold(model: str, device: str, epochs: int | None, number: int) -> float:
    """Train a fold on noise, in a worker; seconds."""
    start = time.perf_counter()
    fit_module(run_for(model, device, epochs=epochs), noise(model, 108), CLASSES, number, device, silent)
    wait_for(torch.device(device))
    return time.perf_counter() - start


def folds(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows: folds a minute by how many are trained at a time."""
    for model in ("ststnet", "fdp"):
        alone = 0.0
        for count in AT_ONCE:
            with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
                list(pool.map(one_fold, *zip(*[(model, options.device, 1, k) for k in range(count)], strict=True)))
                start = time.perf_counter()
                work = [(model, options.device, options.epochs, k) for k in range(2 * count)]
                list(pool.map(one_fold, *zip(*work, strict=True)))
                minute = 60 * len(work) / (time.perf_counter() - start)
            alone = alone or minute
            yield {
                "model": model,
                "folds at a time": count,
                "folds/min": round(minute, 1),
                "times one": round(minute / alone, 2),
            }


def taken(model: str, options: argparse.Namespace) -> tuple[ClipSet, int]:
    """Clips of the task, or of noise, and the number of classes."""
    if options.task is None:
        return noise(model, 60), CLASSES
    info = model_info(model)
    clips = load_clips(options.task, tuple(dict.fromkeys((*info.inputs, *info.targets))))
    return clips, len(load_task_info(options.task).classes)


def fold_of(
    model: str, device: str, precision: str, subject: str, epochs: int | None, taken_of: tuple[ClipSet, int]
) -> FittedModule:
    """Train the fold that tests a subject, of clips and a number of classes."""
    clips, classes = taken_of
    run = run_for(model, device, precision, epochs=epochs)
    seed = seed_of(1, "gpu", model, subject, 0)
    return fit_module(run, clips.of(set(clips.subjects) - {subject}), classes, seed, device, silent)


def scores_of(work: tuple[str, str, str, str, argparse.Namespace]) -> NDArray[np.float64]:
    """What a fold says of the subject that it tests, in a worker."""
    model, device, precision, subject, options = work
    whole = taken(model, options)
    return fold_of(model, device, precision, subject, options.epochs, whole).predict(whole[0].of({subject})).scores


def loso(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows: all folds of a model on the CPU and on the device."""
    precision = "bfloat16" if options.device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    for model in ("ststnet", "fdp"):
        clips, classes = taken(model, options)
        subjects, said, took = sorted(set(clips.subjects)), {}, {}
        places = {"cpu": ("cpu", "float32", available_cpus()), "device": (options.device, precision, options.at_once)}
        for place, (device, chosen, workers) in places.items():
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
                brief = argparse.Namespace(**vars(options) | {"epochs": 1})  # imports, first allocations
                list(pool.map(scores_of, [(model, device, chosen, subjects[0], brief)] * workers))
                start = time.perf_counter()
                work = [(model, device, chosen, subject, options) for subject in subjects]
                said[place] = dict(zip(subjects, pool.map(scores_of, work), strict=True))
                took[place] = time.perf_counter() - start
        labels = np.concatenate([clips.of({subject}).labels for subject in subjects])
        told = {place: np.concatenate(list(scores.values())) for place, scores in said.items()}
        for place, scores in told.items():
            confusion = np.zeros((classes, classes), np.int64)
            np.add.at(confusion, (labels, scores.argmax(1)), 1)
            yield {
                "model": model,
                "on": f"{places[place][0]}, {places[place][1]}, {places[place][2]} at a time",
                "seconds": round(took[place], 1),
                "times the CPU": round(took["cpu"] / took[place], 2),
                "UF1": round(float(metric_of(confusion, "uf1")), 4),
                "labels as on the CPU": f"{(scores.argmax(1) == told['cpu'].argmax(1)).mean():.3f}",
            }


def repeat(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows: whether a fold repeats its weights, and how far it is from the CPU's."""
    for model in ("ststnet", "fdp"):
        whole = taken(model, options)
        clips, subject = whole[0], sorted(set(whole[0].subjects))[0]
        one, other = (fold_of(model, options.device, "float32", subject, options.epochs, whole) for _ in range(2))
        states = [each.model.state_dict() for each in (one, other)]
        same = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        cpu = fold_of(model, "cpu", "float32", subject, options.epochs, whole)
        test = clips.of({subject})
        apart = np.abs(one.predict(test).scores - cpu.predict(test).scores).max()
        yield {
            "model": model,
            "the same bytes twice": same,
            "largest difference of a probability to the CPU": f"{apart:.1e}",
        }


def batched(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows: steps of many small networks as one, and one after the other."""
    device = torch.device(options.device)
    set_up_torch(device, False)
    clips, batch = noise("ststnet", 64), torch.arange(64, device=device)
    run = run_for("ststnet", options.device, batch_size=64)

    def network() -> Any:
        return create_model("ststnet", CLASSES, shapes=clips.shapes, **run.settings.model).to(device).train()

    step = TrainStep(run, network(), clips, device)
    single = pace(lambda: step(batch), device, options.seconds)
    yield {"networks": 1, "steps/s of a network": round(single, 1), "all together": round(single, 1), "times": 1.0}
    flow, labels = step.standardiser(step.tensors)["flow"], step.labels
    for count in options.networks:
        networks = [network() for _ in range(count)]
        for each in networks:
            torch.func.replace_all_batch_norm_modules_(each)  # running statistics cannot be written to under vmap
            each.bn.momentum = None  # torch's own kernel: ours has no batched form
        weights, buffers = torch.func.stack_module_state(networks)
        optimizer = torch.optim.Adam(weights.values(), lr=1e-3, fused=True)

        def loss(weights: Any, buffers: Any, one: Any = networks[0]) -> Tensor:
            output = torch.func.functional_call(one, (weights, buffers), kwargs={"flow": flow})
            total: Tensor = torch.nn.functional.cross_entropy(output.logits, labels)
            return total

        losses = torch.vmap(loss, randomness="different")

        def together(
            losses: Any = losses, weights: Any = weights, buffers: Any = buffers, how: Any = optimizer
        ) -> None:
            how.zero_grad(set_to_none=True)
            losses(weights, buffers).sum().backward()
            how.step()

        found = pace(together, device, options.seconds)
        yield {
            "networks": count,
            "steps/s of a network": round(found, 2),
            "all together": round(found * count, 1),
            "times": round(found * count / single, 2),
        }


PARTS = {"steps": steps, "folds": folds, "loso": loso, "repeat": repeat, "batched": batched}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--only", default=",".join(PARTS), help="which questions, separated by commas")
    parser.add_argument("--task", type=Path, help="folder of a task that gives frames, dynamic images and flow")
    parser.add_argument("--models", default=",".join(STEPS), help="of steps")
    parser.add_argument("--clips", type=int, default=32, help="clips in a batch, of steps")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each thing is measured")
    parser.add_argument("--epochs", type=int, help="of folds, loso and repeat; the recipes' by default")
    parser.add_argument("--at-once", type=int, default=4, help="folds at a time on the device, of loso")
    parser.add_argument("--networks", default=",".join(map(str, NETWORKS)), help="trained as one, of batched")
    options = parser.parse_args()
    options.models = options.models.split(",")
    options.networks = [int(count) for count in options.networks.split(",")]
    unknown = [name for name in options.only.split(",") if name not in PARTS]
    unknown += [name for name in options.models if name not in STEPS]
    if unknown:
        parser.error(f"{', '.join(unknown)}: --only takes {', '.join(PARTS)}, --models {', '.join(STEPS)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --device cpu runs the same there, slowly")
    card = torch.cuda.get_device_name() if options.device == "cuda" else "the CPU"
    print(f"{card}, torch {torch.__version__}")
    found: dict[str, Any] = {"device": card, "torch": torch.__version__}
    for name in options.only.split(","):
        rows = []
        for row in PARTS[name](options):
            rows.append(row)
            print(f"{name}: {', '.join(f'{key} {value}' for key, value in row.items())}", file=sys.stderr, flush=True)
        found[name] = rows
        print(f"\n{name}\n{tabulate(rows, headers='keys', tablefmt='github')}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
