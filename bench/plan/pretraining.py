"""Section `pretrain` of params.yaml, and the weights that runs start from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fdpbench.bench.plan.recipes import errors_of_settings, known_model, merged_settings
from fdpbench.bench.train.artifacts import located, shipped_weights, weights_files
from fdpbench.bench.train.outputs import untold
from fdpbench.bench.train.pretrain import run_on_corpus
from fdpbench.bench.train.settings import PRETRAINED_TABLE, ModelSettings, PretrainEntry, Run, RunEntry, TrainParams
from fdpbench.models.common.registry import ModelInfo, UnknownModelError, model_info
from fdpbench.prep.demo.composite import CLASSES, EMOTIONS
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.problems import ParamsError, Problems, near
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store.documents import read_object
from fdpbench.prep.task.inputs import INPUTS

__all__ = [
    "CROPS_SHIFT",
    "FINE_TUNING",
    "FINE_TUNING_FRAMES",
    "PREDICTING",
    "PRETRAINING",
    "PRETRAINING_FRAMES",
    "Pretraining",
    "check_init",
    "check_tables",
    "crops_of",
    "errors_of_pretraining",
    "fine_tuning_of",
    "load_pretraining",
    "options_of",
    "start_of",
]

SCALING: Literal["per_image"] = "per_image"  # of the flow of a corpus, as tasks name it
PREDICTING = ("batch_size", "mirrored_prediction", "model")  # settings that a run reads which is not trained

# What stands in place of a model's recipe where params.yaml says nothing else: when it is pretrained on a corpus of
# flow images, or of frames, of which there are fewer clips; and when a run starts from weights, of a model that reads
# flow alone, or crops.
PRETRAINING: dict[str, Any] = {
    "epochs": 6,
    "batch_size": 128,
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "optimiser": "adamw",
    "schedule": "one_cycle",
    "augment": {"mirror": True, "shift": 1},
    "mirrored_prediction": True,
}
PRETRAINING_FRAMES: dict[str, Any] = PRETRAINING | {"epochs": 40, "batch_size": 32, "lr": 2e-3}
FINE_TUNING: dict[str, Any] = PRETRAINING | {"epochs": 10, "batch_size": 64, "lr": 3e-4, "class_weight": 0.5}
FINE_TUNING_FRAMES: dict[str, Any] = FINE_TUNING | {"batch_size": 16, "lr": 1e-4}
CROPS_SHIFT = 4  # pixels of crops, which are larger than flow images

# What of section `align` a corpus of frames is cropped by, whatever its settings (`prep.demo.corpus.frames`).
CROPPED: dict[str, Any] = {"mode": "first_frame", "geometry": "eyes"}


def pretraining_of(model: ModelInfo, generator: str) -> dict[str, Any]:
    """What stands in place of a model's recipe when it is pretrained on a corpus of a generator."""
    return _for_its_inputs(model, PRETRAINING_FRAMES if generator == "frames" else PRETRAINING)


def fine_tuning_of(model: ModelInfo) -> dict[str, Any]:
    """What stands in place of a model's recipe when a run starts from weights."""
    return _for_its_inputs(model, FINE_TUNING if _reads_flow_alone(model) else FINE_TUNING_FRAMES)


def _for_its_inputs(model: ModelInfo, layer: dict[str, Any]) -> dict[str, Any]:
    """Shifts by what a model reads; nothing is mirrored or shifted where that cannot be done to an input."""
    if any(INPUTS[name].mirrored is None for name in (*model.inputs, *model.targets)):
        return {key: value for key, value in layer.items() if key not in ("augment", "mirrored_prediction")}
    return layer if _reads_flow_alone(model) else layer | {"augment": layer["augment"] | {"shift": CROPS_SHIFT}}


def _reads_flow_alone(model: ModelInfo) -> bool:
    return {*model.inputs, *model.targets} == {"flow"}


def crops_of(corpus: CorpusParams, **others: Any) -> AlignParams:
    """Section `align` that crops as a corpus does, but for other values of some of its keys."""
    crop = corpus.crop.model_dump() | others
    return AlignParams(**CROPPED, landmarks="mesh", colour=False, track=corpus.landmarks, **crop)


@dataclass(frozen=True)
class Pretraining:
    """An entry of section `pretrain` with everything it needs, checked."""

    entry: PretrainEntry
    corpus: CorpusParams
    settings: ModelSettings
    train: TrainParams

    @property
    def crops(self) -> AlignParams:
        """Section `align` that crops as the corpus does; of a corpus of flow images nothing that is read."""
        return crops_of(self.corpus)

    def as_run(self, name: str) -> Run:
        """The training as a run on the corpus, for what checks runs: of its name, its network and its inputs."""
        classes = {each: [each] for each in classes_of(self.entry)}
        return run_on_corpus(name, self.entry, self.corpus, classes, self.settings, self.train)


def load_pretraining(name: str, params: Mapping[str, Any]) -> Pretraining:
    """An entry of section `pretrain`.

    Raises
    ------
    ParamsError
        With everything that is wrong with it.
    """
    problems = Problems()
    problems.add(*errors_of_pretraining(name, params))
    problems.refuse()
    entry = entry_of(name, params)
    settings = merged_settings(entry.model, _layers(name, entry, params))
    return Pretraining(entry, corpus_of(name, entry, params), settings, section(TrainParams, params["train"], "train"))


def errors_of_pretraining(name: str, params: Mapping[str, Any]) -> Iterator[ValueError]:
    """What is wrong with an entry of section `pretrain`, each error by itself."""
    where = f"pretrain.{name}"
    try:
        entry = entry_of(name, params)
        model = known_model(f"{where}.model", entry.model)
    except (ParamsError, UnknownModelError) as error:
        yield error
        return
    if name in shipped_weights():
        yield ParamsError(f"params.yaml: {where}: weights of this name come with the package; choose another")
    try:
        corpus = corpus_of(name, entry, params)
    except ParamsError as error:
        yield error
    else:
        given = corpus.as_task(entry.corpus, {each: [each] for each in classes_of(entry)}).inputs
        lacking = [needed for needed in dict.fromkeys((*model.inputs, *model.targets)) if needed not in given]
        if lacking:
            yield ParamsError(
                f"params.yaml: {where}: model {entry.model!r} reads {', '.join(lacking)}, and a corpus of the "
                f"generator {corpus.generator} gives {', '.join(given)}" + _how_to_give(corpus, lacking)
            )
    if model.kind == "estimator":
        yield ParamsError(f"params.yaml: {where}: {entry.model} is fitted at once and has no weights to start from")
        return
    yield from errors_of_settings(where, entry.model, _layers(name, entry, params))


def _how_to_give(corpus: CorpusParams, lacking: list[str]) -> str:
    """What gives a model the inputs that a corpus lacks."""
    if corpus.generator == "flow":
        return "; take one of the generator frames" + (" with landmarks: true" if "landmarks" in lacking else "")
    return "; set landmarks: true" if lacking == ["landmarks"] else ""


def _layers(name: str, entry: PretrainEntry, params: Mapping[str, Any]) -> dict[str, Any]:
    generator = params["corpora"].get(entry.corpus, {}).get("generator", "flow")
    return {
        f"pretrain.{name}": pretraining_of(model_info(entry.model), generator),
        f"pretrain.{name}.set": entry.set,
    }


def entry_of(name: str, params: Mapping[str, Any]) -> PretrainEntry:
    """An entry of section `pretrain`, by itself.

    Raises
    ------
    ParamsError
        If a key of it is wrong.
    """
    return section(PretrainEntry, params["pretrain"][name], f"pretrain.{name}")


def classes_of(entry: PretrainEntry) -> tuple[str, ...]:
    """Names of the classes that an entry of section `pretrain` learns, in order."""
    return CLASSES if entry.classes == "composite" else EMOTIONS


def corpus_of(name: str, entry: PretrainEntry, params: Mapping[str, Any]) -> CorpusParams:
    """The corpus that an entry of section `pretrain` is trained on.

    Raises
    ------
    ParamsError
        If there is none of this name, or its ranges are wrong.
    """
    known = params["corpora"]
    if entry.corpus not in known:
        listed = f"corpora: {', '.join(known)}" if known else "corpora lists none"
        raise ParamsError(
            f"params.yaml: pretrain.{name}.corpus: no corpus {entry.corpus!r}{near(entry.corpus, known)}; {listed}"
        )
    return section(CorpusParams, known[entry.corpus], f"corpora.{entry.corpus}")


def start_of(entry: RunEntry, params: Mapping[str, Any]) -> tuple[str, ...]:
    """Files of the weights that a run's repetitions start from; none where it names no weights.

    Raises
    ------
    ParamsError
        If there are no weights of this name.
    """
    if entry.init is None:
        return ()
    if entry.init in params["pretrain"]:
        return weights_files(entry.init, entry_of(entry.init, params).repetitions)
    shipped = shipped_weights()
    if entry.init not in shipped:
        known = [*params["pretrain"], *shipped]
        raise ParamsError(
            f"no weights {entry.init!r}{near(entry.init, known)}; "
            + (f"there are {', '.join(known)}" if known else "section pretrain lists none")
        )
    return (shipped[entry.init],)


def check_init(
    name: str, entry: RunEntry, model: ModelInfo, task: TaskParams | None, params: Mapping[str, Any]
) -> None:
    """Hold the weights that a run starts from against its protocol, its model and its classes.

    Raises
    ------
    ParamsError
        If they do not go together.
    """
    where = f"params.yaml: runs.{name}"
    if entry.init is None:
        if entry.protocol == "zero_shot":
            raise ParamsError(f"{where}: protocol zero_shot trains nothing: name the weights that predict, as init")
        return
    if model.kind == "estimator":
        raise ParamsError(f"{where}.init: {entry.model} is fitted at once and starts from no weights; leave it out")
    try:
        start = start_of(entry, params)
    except ParamsError as error:
        raise ParamsError(f"{where}.init: {error}") from None
    made_for, outputs = _known_of(entry.init, start, params)
    if made_for not in (model.name, entry.model):
        raise ParamsError(f"{where}.init: {entry.init!r} are weights of {made_for}, and the model is {entry.model}")
    if task and task.flow and "flow" in model.inputs and task.flow.scaling != SCALING:
        raise ParamsError(
            f"{where}.init: {entry.init!r} were trained on flow that is scaled {SCALING}, and task {entry.task!r} has "
            f"scaling {task.flow.scaling}; take a task of scaling {SCALING}"
        )
    if task:
        _check_crops(where, entry, model, task, params)
    if entry.protocol == "zero_shot":
        unread = [key for key in entry.set if key not in PREDICTING]
        if entry.faults.frozen_batch_norm:
            unread.append("faults.frozen_batch_norm")
        if unread:
            raise ParamsError(f"{where}: {', '.join(unread)}: protocol zero_shot trains nothing; leave out")
    unknown = untold(tuple(task.classes), outputs) if task else []
    if entry.protocol == "zero_shot" and unknown:
        raise ParamsError(
            f"{where}: protocol zero_shot: {entry.init!r} tells {', '.join(outputs) or 'no classes'}, and not "
            f"{', '.join(unknown)}; fine-tune it (protocol honest), or choose a task of its classes"
        )


def _check_crops(where: str, entry: RunEntry, model: ModelInfo, task: TaskParams, params: Mapping[str, Any]) -> None:
    """Hold crops and sampling of a task against those of the corpus that a run's weights were trained on.

    Raises
    ------
    ParamsError
        Naming what differs of that which the model reads.
    """
    read = {*model.inputs, *model.targets} - {"flow"}
    if not read:
        return
    corpus, place, cure = _corpus_behind(str(entry.init), params)
    if corpus.generator != "frames":
        return
    align = section(AlignParams, params["align"], "align").model_dump()
    keys: list[tuple[str, Any, str, Any]] = [
        (f"crop.{key}", value, f"align.{key}", align[key]) for key, value in corpus.crop.model_dump().items()
    ]
    keys += [(f"the {key} of every corpus", value, f"align.{key}", align[key]) for key, value in CROPPED.items()]
    if read != {"apex"}:
        keys.append(("sampling", corpus.sampling, f"tasks.{entry.task}.sampling", task.sampling))
    if "landmarks" in read:
        keys.append(("landmarks", "mesh", "align.landmarks", align["landmarks"]))
    if "dynamic_image" in read:
        keys.append(("rank_pooling", corpus.rank_pooling, f"tasks.{entry.task}.rank_pooling", task.rank_pooling))
    differing = [f"{theirs} is {mine}, and {key} {value}" for key, value, theirs, mine in keys if value != mine]
    if differing:
        fixed = [f"align.{key}: {value}" for key, value in CROPPED.items() if align[key] != value]
        cure = f"set {' and '.join(fixed)}" if fixed else cure
        raise ParamsError(
            f"{where}.init: {entry.init!r} were trained on other images: {'; '.join(differing)} in {place}; {cure}"
        )


def _corpus_behind(init: str, params: Mapping[str, Any]) -> tuple[CorpusParams, str, str]:
    """The corpus that weights were trained on, where it is described, and what to do where a task differs from it."""
    if init in params["pretrain"]:
        made = entry_of(init, params)
        return corpus_of(init, made, params), f"corpora.{made.corpus}", "make the corpus as the task"
    card = located(shipped_weights()[init]).with_suffix(".json")
    settings = read_object(card, "install the package anew").get("corpus", {}).get("settings")
    return section(CorpusParams, settings, f"{card.name}: corpus"), card.name, "prepare the task's clips as these"


def check_tables(entries: Mapping[str, RunEntry]) -> Iterator[ParamsError]:
    """Errors for tables that would rank runs that start from weights, or of another split, with others.

    Parameters
    ----------
    entries
        The runs.
    """
    for task, table in dict.fromkeys((entry.task, entry.printed_in) for entry in entries.values()):
        runs = [name for name, one in entries.items() if (one.task, one.printed_in) == (task, table)]
        others = [name for name in runs if not entries[name].init]
        started = [name for name in runs if entries[name].init]
        if table and others and (started or table == PRETRAINED_TABLE):
            yield ParamsError(
                f"params.yaml: runs.{others[0]}.table: {table!r} is a table of runs that start from weights"
                f"{f' ({started[0]})' if started else ''}, which are not ranked with others; name another"
            )
            continue
        kinds: dict[tuple[bool, str], str] = {}
        for name in runs:
            kinds.setdefault(entries[name].never_beside, name)
        if len(kinds) > 1:
            first, second, *_ = kinds.values()
            yield ParamsError(
                f"params.yaml: runs.{second}.table: {table!r} holds run {first}, whose split is another: runs of "
                "different splits are not ranked together; name another table"
            )


def _known_of(init: str, start: tuple[str, ...], params: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Model of weights, and the classes that they tell."""
    if init in params["pretrain"]:
        entry = entry_of(init, params)
        return entry.model, () if entry.targets == "units" else classes_of(entry)
    about = _about_shipped(start[0])
    return about["model"], tuple(about["outputs"])


def options_of(entry: RunEntry, params: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the network whose weights a run starts from, which are the run's too where it sets no others."""
    assert entry.init is not None
    if entry.init in params["pretrain"]:
        options: dict[str, Any] = entry_of(entry.init, params).set.get("model", {})
        return options
    return dict(_about_shipped(start_of(entry, params)[0])["settings"].get("model", {}))


def _about_shipped(file: str) -> dict[str, Any]:
    from fdpbench.bench.train.weights import read_about  # torch costs seconds

    return read_about(located(file))
