"""params.yaml as typed, frozen objects: an unknown key or a value of the wrong type is refused.

`prep` owns the sections it reads; `bench.plan.params` adds those of training and evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import ParamsError, near, shown
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = [
    "NAME",
    "AlignParams",
    "FlowInput",
    "FlowParams",
    "IndexParams",
    "LostFrames",
    "ParamsError",
    "Sampling",
    "Section",
    "SynthParams",
    "TaskParams",
    "check_params",
    "check_task",
    "load_task",
    "read_params",
    "section",
]

LostFrames = Literal["keep", "reject"]

S = TypeVar("S", bound="Section")

PARAMS_FILE = Path("params.yaml")

# Names become stage names, file names and words of a command.
NAME_LENGTH = 100
NAME = rf"^[A-Za-z0-9][A-Za-z0-9_-]{{0,{NAME_LENGTH - 1}}}$"
NAMED = ("releases", "flow_releases", "tasks", "runs", "feature_runs")

# Every top-level key of params.yaml, and who reads it.
SECTIONS = {
    "synth": "fdpbench synthesize",
    "releases": "dvc.yaml: one index, align and flow stage each",
    "flow_releases": "dvc.yaml: one flow-images stage each",
    "index": "fdpbench index",
    "align": "fdpbench align",
    "flow": "fdpbench flow",
    "tasks": "fdpbench dynamic, fdpbench task",
    "runs": "fdpbench train, fdpbench tables",
    "feature_runs": "fdpbench features, fdpbench train, fdpbench tables",
    "train": "fdpbench train",
    "options": "fdpbench train",
}

SECTION_TYPES = dict.fromkeys(SECTIONS, dict) | {"releases": list, "flow_releases": list}


class Section(BaseModel):
    """A part of params.yaml: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SynthParams(Section):
    """The embedded release (`prep.demo.synth`)."""

    seed: int = Field(ge=0, description="seed of every face, motion and noise of the release")
    subjects: int = Field(ge=2, description="number of subjects")
    clips_per_emotion: int = Field(ge=1, description="clips of each emotion for each subject")
    size: int = Field(ge=120, description="side of a frame, pixels")
    frames_min: int = Field(ge=24, description="shortest clip, frames at 200 fps")
    frames_max: int = Field(ge=24, description="longest clip, frames at 200 fps")
    peak_min: float = Field(gt=0, description="smallest peak motion of a clip, pixels")
    peak_max: float = Field(gt=0, description="largest peak motion of a clip, pixels")
    drift: float = Field(ge=0, description="head drift, 1 = a calm subject")
    blink_rate: float = Field(ge=0, le=1, description="share of clips with a blink")
    gaze_rate: float = Field(ge=0, le=1, description="share of clips with a gaze shift")
    overlap: float = Field(ge=0, le=1, description="share of clips that mix in an action unit of another emotion")

    @model_validator(mode="after")
    def _ordered(self) -> SynthParams:
        if self.frames_min > self.frames_max:
            raise ValueError("frames_min must not exceed frames_max")
        if self.peak_min > self.peak_max:
            raise ValueError("peak_min must not exceed peak_max")
        return self


class IndexParams(Section):
    """How a release's sheet and folders become its manifest (`prep.index.stage`)."""

    lost_frames: LostFrames = Field(
        description="a clip that lacks frames between onset and offset: keep: with the frames that are there, and "
        "tables say how many such clips there are; reject: left out"
    )


class AlignParams(Section):
    """Crops (`prep.align.placing`, `prep.align.geometry`): how a clip is aligned and where its eyes land."""

    mode: Literal["first_frame", "ecc", "per_frame"] = Field(
        description="first_frame: the first frame's transform for the whole clip; ecc: the same, the head's drift "
        "undone; per_frame: eyes found anew in each frame"
    )
    landmarks: Literal["mesh", "dlib"] = Field(
        description="mesh: 468 landmarks, steady; dlib: 68, as released code has them (extra `dlib`)"
    )
    geometry: Literal["eyes", "released"] = Field(
        description="eyes: level and at the place given by eye_distance and eye_height; released: as FDP's released "
        "code crops, 2.5 times the box around eyes, nose and mouth, whatever these two say"
    )
    interpolation: Literal["linear", "cubic", "lanczos"] = Field(description="how values between pixels are taken")

    size: int = Field(ge=32, description="side of a crop, pixels")
    eye_distance: float = Field(gt=0, lt=1, description="distance of the eye centres, share of the side")
    eye_height: float = Field(gt=0, lt=1, description="height of the eye line from the top, share of the side")
    colour: bool = Field(description="keep RGB crops; false stores grey ones, which every task uses")
    track: bool = Field(
        default=False,
        description="find the landmarks anew in every frame, for tasks with landmarks; crops stay the same. Mode "
        "per_frame finds them anyway",
    )

    @property
    def tracks(self) -> bool:
        """Whether landmarks are sought in every frame."""
        return self.track or self.mode == "per_frame"


class FlowParams(Section):
    """Onset-to-apex flow of releases with image frames (`prep.flow.stage`)."""

    method: Literal["dis", "farneback", "tvl1"] = Field(
        description="dis: the most accurate on rendered faces; farneback; tvl1: twenty times as slow as dis"
    )
    missing_apex: Literal["reject", "estimate"] = Field(
        description="a clip whose sheet names no apex: reject: has no flow; estimate: its apex is the frame in which "
        "the face has moved most since the onset, and is marked as estimated"
    )


class Sampling(Section):
    """Which frames of onset..offset a task sees (`prep.dynamic.sampling`, `prep.dynamic.tim`)."""

    rule: Literal["uniform", "truncated", "tim", "all"] = Field(
        description="uniform: equally spaced, first and last included; truncated: as FDP's released code, "
        "whose last frame lands before the end of the clip; tim: frames interpolated by the temporal interpolation "
        "model, of clips of any length; all: every frame, for dynamic images alone, since lengths differ"
    )
    frames: int | None = Field(default=None, ge=2, description="T, frames for each clip; absent with rule all")

    @model_validator(mode="after")
    def _counted(self) -> Sampling:
        if (self.frames is None) != (self.rule == "all"):
            wanted = "takes every frame: leave frames out" if self.rule == "all" else "needs frames, T of each clip"
            raise ValueError(f"rule {self.rule} {wanted}")
        return self


class FlowInput(Section):
    """Onset-to-apex flow as a model's input."""

    size: int = Field(ge=8, description="side of the flow image, pixels")
    scaling: Literal["per_image", "pixels", "fixed"] = Field(
        description="per_image: each of u, v, strain min-max scaled to 0..1 for each clip, as the "
        "MEGC2019 flow images are; pixels: left in pixels of the crop; fixed: scaled to 0..1 by limits that all "
        "clips share"
    )
    limit: float | None = Field(
        default=None, gt=0, description="with fixed alone: u and v of -limit..limit pixels become 0..1, rest is 0.5"
    )
    strain_limit: float | None = Field(
        default=None, gt=0, description="with fixed alone: strain of 0..strain_limit becomes 0..1"
    )

    @model_validator(mode="after")
    def _limited(self) -> FlowInput:
        given = [name for name in ("limit", "strain_limit") if getattr(self, name) is not None]
        if self.scaling == "fixed" and len(given) < 2:
            raise ValueError("scaling fixed needs limit (pixels) and strain_limit")
        if self.scaling != "fixed" and given:
            raise ValueError(f"{', '.join(given)}: for scaling fixed alone, not {self.scaling}; leave out")
        return self


class TaskParams(Section):
    """A classification task: releases, class map, inputs."""

    releases: list[str] = Field(min_length=1, description="names under data/manifest")
    classes: dict[str, list[str]] = Field(
        min_length=2, description="class -> the annotated emotions it gathers, in order of class index"
    )
    rank_pooling: Literal["harmonic", "linear"] | None = Field(
        default=None, description="rule of the ground-truth dynamic images; absent: the task has no frames"
    )
    sampling: Sampling | None = Field(default=None, description="absent: the task has no frames")
    flow: FlowInput | None = Field(default=None, description="absent: the task has no flow")
    apex: bool = Field(default=False, description="gives the apex frame of each clip; `flow.missing_apex` holds for it")
    landmarks: bool = Field(
        default=False, description="gives the landmarks of each sampled frame; align.track must be true"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TaskParams:
        if (self.sampling is None) != (self.rank_pooling is None):
            raise ValueError("give both sampling and rank_pooling (a task with frames) or neither")
        if self.sampling is None and self.flow is None and not self.apex:
            raise ValueError("a task needs frames (sampling and rank_pooling), flow or apex")
        if self.landmarks and (self.sampling is None or self.sampling.rule == "all"):
            raise ValueError("landmarks are those of the sampled frames: give sampling with frames, T of each clip")
        emotions = [emotion for group in self.classes.values() for emotion in group]
        twice = sorted({emotion for emotion in emotions if emotions.count(emotion) > 1})
        if twice:
            raise ValueError(f"emotions in more than one class: {', '.join(twice)}")
        return self

    @property
    def needs_frames(self) -> bool:
        """Whether it can be made of releases with image frames alone."""
        return self.sampling is not None or self.apex

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that the task gives to models; of clips whose lengths differ, no frames."""
        given = {
            "frames": self.sampling is not None and self.sampling.rule != "all",
            "dynamic_image": self.sampling is not None,
            "flow": self.flow is not None,
            "apex": self.apex,
            "landmarks": self.landmarks,
        }
        return tuple(name for name, there in given.items() if there)


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read params.yaml and refuse unknown or missing top-level keys.

    Parameters
    ----------
    path
        The YAML file, loaded safely.

    Returns
    -------
    The sections by name, untyped: pass each to its type with `section`.

    Raises
    ------
    ParamsError
        If the file is missing, is not YAML, a key stands twice, or its top-level keys are not exactly the known ones.
    """
    if not path.is_file():
        raise ParamsError(f"{path} not found: run the command from the project's root folder")
    content: dict[str, Any] = read_yaml(path)
    check_params(content, path)
    return content


def check_params(content: Any, path: Path = PARAMS_FILE) -> None:
    """Check the frame of params.yaml: its sections, their kinds, the names of tasks, runs and releases.

    Raises
    ------
    ParamsError
        Naming all that is unknown, missing, of the wrong kind or badly named.
    """
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    problems = []
    for key in content:
        if key not in SECTIONS:
            problems.append(f"unknown key {key!r}{near(key, SECTIONS)}; known keys: {', '.join(SECTIONS)}")
    for key, kind in SECTION_TYPES.items():
        none = "[]" if kind is list else "{}"
        if key not in content:
            cure = f"; write `{key}: {none}` if there are none" if key in ("feature_runs", "flow_releases") else ""
            cure = "; write `index: {lost_frames: reject}`" if key == "index" else cure
            problems.append(f"section {key!r} is missing (read by: {SECTIONS[key]}){cure}")
        elif not isinstance(content[key], kind):
            expected = "a list" if kind is list else "a mapping"
            problems.append(f"{key} must be {expected} (write [] or {{}} for none), found {shown(content[key])}")
        elif key in NAMED:
            problems += _problems_of_names(key, list(content[key]))
    if problems:
        raise ParamsError(*(f"{path}: {problem}" for problem in problems))


def _problems_of_names(key: str, names: list[Any]) -> Iterator[str]:
    """Names that cannot be those of stages and files, or a word of dvc.yaml's commands; names that stand twice."""
    for name in names:
        if not isinstance(name, str):
            yield f"{key}: {shown(name)} is no name but a value of YAML; write it in quotes"
        elif not re.fullmatch(NAME, name):
            yield f"{key}.{name}: a name may hold letters, digits, - and _ only, up to {NAME_LENGTH} of them"
    for name in dict.fromkeys(name for name in names if isinstance(name, str) and names.count(name) > 1):
        yield f"{key}: {name} stands twice"


def load_task(name: str, params: dict[str, Any]) -> TaskParams:
    """One task of params.yaml, checked, also against how its releases are aligned.

    Raises
    ------
    ParamsError
        If there is no such task, its entry is wrong, or it asks for landmarks that are not sought.
    """
    tasks = params["tasks"]
    if name not in tasks:
        raise ParamsError(f"params.yaml: no task {name!r}{near(name, tasks)}; tasks: {', '.join(tasks)}")
    task = section(TaskParams, tasks[name], f"tasks.{name}")
    if task.landmarks:
        check_task(name, task, section(AlignParams, params["align"], "align"))
    return task


def check_task(name: str, task: TaskParams, align: AlignParams) -> None:
    """Check a task against how its releases are aligned.

    Raises
    ------
    ParamsError
        If it asks for landmarks that are not sought.
    """
    if task.landmarks and not align.tracks:
        raise ParamsError(
            f"params.yaml: tasks.{name}.landmarks needs landmarks of every frame, which are not sought: set "
            "align.track: true (about 17 ms a frame), or leave landmarks out"
        )


def section(cls: type[S], content: Any, where: str) -> S:
    """Check one part of params.yaml against its type.

    Parameters
    ----------
    cls
        The type of the section.
    content
        What `read_params` gave for it.
    where
        Its path in the file, such as ``tasks.synthetic``, for error messages.

    Raises
    ------
    ParamsError
        Naming every key that is unknown, missing or of the wrong type, and what was expected.
    """
    try:
        return cls.model_validate(content)
    except ValidationError as error:
        raise ParamsError(*(f"params.yaml: {_problem(cls, where, found)}" for found in error.errors())) from error


def _problem(cls: type[Section], where: str, found: Any) -> str:
    """One problem that pydantic found in a section, in words."""
    key = ".".join([where, *(str(part) for part in found["loc"])])
    value = found["input"]
    if found["type"] == "extra_forbidden":
        known = _known_keys(cls, found["loc"][:-1])
        return f"{key}: unknown key{near(found['loc'][-1], known)}; known keys here: {', '.join(known)}"
    if found["type"] == "missing":
        return f"{key}: missing"
    hint = ""
    if found["type"] == "literal_error":
        hint = near(value, re.findall(r"'([^']*)'", found["ctx"]["expected"]))
    elif found["type"] == "int_type" and isinstance(value, float) and value.is_integer():
        hint = f"; write {int(value)}"
    elif found["type"] == "bool_type":
        hint = "; write true or false"
    return f"{key}: {found['msg']} (found {shown(value)}){hint}"


def _known_keys(cls: type[Section], location: tuple[int | str, ...]) -> list[str]:
    """Keys that are known at a place inside a section: follows the names into nested sections."""
    for name in location:
        annotation = cls.model_fields[str(name)].annotation
        nested = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        cls = next(kind for kind in nested if issubclass(kind, Section))
    return list(cls.model_fields)
