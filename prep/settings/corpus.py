"""An entry of section `corpora`: rendered motion to pretrain on, its size and its ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from fdpbench.prep.settings.expressions import (
    LARGEST_SEED,
    ExpressionParams,
    NotNegativeRange,
    PositiveRange,
    PowerRange,
    Range,
    Share,
)
from fdpbench.prep.settings.section import Section
from fdpbench.prep.settings.task import FlowInput, Sampling, TaskParams

__all__ = ["FLOW_SIDE", "CorpusParams", "CropParams"]

FLOW_SIDE = 28  # of a flow image, pixels: as those of the MEGC2019 composite


class CropParams(Section):
    """How frames are cropped: keys and meaning as in section `align`, whose crops they are to look like."""

    size: int = Field(default=96, ge=32, description="side of a crop, pixels")
    eye_distance: float = Field(
        default=0.40,
        gt=0,
        lt=1,
        description="distance of the eye centres, share of the side",
    )
    eye_height: float = Field(default=0.32, gt=0, lt=1, description="height of the eye line from the top, share")
    interpolation: Literal["linear", "cubic", "lanczos"] = Field(
        default="linear", description="how values between pixels are taken"
    )


# Keys that one generator alone reads.
OWN_KEYS = {
    "flow": (
        *("eye_distance", "aspect", "eye_height"),
        *("noise", "spots", "smoothing", "dominance", "shrinkage", "bleed", "true_flow"),
    ),
    "frames": ("crop", "sampling", "rank_pooling", "landmarks", "sensor_noise"),
}
INSTEAD = {"eye_distance": "crop: {eye_distance: 0.40}", "eye_height": "crop: {eye_height: 0.32}"}  # for frames


class CorpusParams(ExpressionParams):
    """A corpus (`prep.demo.corpus`). Motion is in px of a face whose eyes are 51 px apart, as the release's."""

    generator: Literal["flow", "frames"] = Field(
        description="flow: onset-to-apex flow images from the head mesh and a simulated estimator, no frame rendered; "
        "frames: the sampled frames of a clip and its apex rendered and cropped, and all that a task makes of them"
    )
    identities: int = Field(ge=1, le=LARGEST_SEED, description="number of people, none of whom is in any release")
    clips_per_identity: int = Field(ge=1, le=10_000, description="clips of each of them")
    seed: int = Field(
        ge=0, le=LARGEST_SEED, description="seed of every face, motion and noise; another has other people"
    )

    note: str = Field(
        default="", description="for cards: what was looked at when the ranges were chosen, real clips above all"
    )

    eye_distance: PositiveRange = Field(
        default=(0.44, 0.64), description="distance of the eyes as a share of the crop's width"
    )
    aspect: PositiveRange = Field(
        default=(0.60, 0.84),
        description="vertical scale of the crop as a share of the horizontal: faces are cut out higher than wide, and "
        "flow images are square",
    )
    eye_height: Range = Field(default=(0.20, 0.32), description="height of the eyes in the crop, from the top, share")

    noise: PositiveRange = Field(
        default=(0.02, 0.15),
        description="error of the simulated estimator, standard deviation in px where the face has texture, uniform "
        "in its logarithm",
    )
    spots: NotNegativeRange = Field(
        default=(0.0, 1.0), description="isolated spots of error, as of glasses and highlights, relative to the noise"
    )
    smoothing: PositiveRange = Field(
        default=(0.1, 0.6), description="width of the estimator's window, standard deviation in pixels of the image"
    )
    dominance: PowerRange = Field(
        default=(2, 5),
        description="power of texture in the weights of that window: 1 averages; more, and what has most texture "
        "decides for what is about it, so that motion comes in patches with edges, as total variation gives it",
    )
    shrinkage: NotNegativeRange = Field(
        default=(0.0, 0.4), description="texture below which the estimator falls back on the motion of the whole face"
    )
    bleed: Share = Field(
        default=0.8,
        description="share of sittings in which the face's motion bleeds into the background; else that is still",
    )
    true_flow: bool = Field(default=False, description="keep the true motion of the skin beside the flow image")

    crop: CropParams = Field(default=CropParams(), description="generator frames: size and place of the face")
    sampling: Sampling = Field(
        default=Sampling(rule="uniform", frames=8),
        description="generator frames: which frames of onset..offset are rendered, as in a task",
    )
    rank_pooling: Literal["harmonic", "linear"] = Field(
        default="harmonic", description="generator frames: rule of the dynamic images, as in a task"
    )

    landmarks: bool = Field(
        default=False,
        description="generator frames: keep the 468 landmarks of each sampled frame, as the mesh would find them, for "
        "models that read landmarks",
    )

    @model_validator(mode="after")
    def _consistent(self) -> CorpusParams:
        other = "frames" if self.generator == "flow" else "flow"
        strange = [key for key in OWN_KEYS[other] if key in self.model_fields_set]
        if strange:
            hints = [f"{key} as {INSTEAD[key]}" for key in strange if self.generator == "frames" and key in INSTEAD]
            cure = f"leave out, or write {', '.join(hints)}" if hints else "leave out"
            raise ValueError(f"{', '.join(strange)}: for generator {other} alone, not {self.generator}; {cure}")
        if self.sampling.rule not in ("uniform", "truncated") or self.sampling.frames is None:
            raise ValueError(
                f"sampling.rule {self.sampling.rule} needs every frame of a clip, and only the sampled ones are "
                "rendered; write uniform or truncated"
            )
        shortest = self.duration[0] + 1  # frames, onset and offset among them
        if self.generator == "frames" and self.sampling.frames > shortest:
            raise ValueError(
                f"sampling.frames {self.sampling.frames}: the shortest clip has {shortest} frames; raise duration, or "
                "sample fewer"
            )
        return self

    @model_serializer(mode="wrap")
    def _read(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys that this generator reads."""
        unread = OWN_KEYS["frames" if self.generator == "flow" else "flow"]
        if self.emotions is not None:
            unread += ("classes",)
        content: dict[str, Any] = handler(self)
        return {key: value for key, value in content.items() if key not in unread}

    def as_task(self, name: str, classes: Mapping[str, Sequence[str]]) -> TaskParams:
        """The task whose table has the form of this corpus.

        Parameters
        ----------
        name
            Of the corpus, in the place of a release.
        classes
            Class -> emotions that it gathers.
        """
        listed = {key: list(emotions) for key, emotions in classes.items()}
        flow = FlowInput(size=FLOW_SIDE, scaling="per_image")
        if self.generator == "flow":
            return TaskParams(releases=[name], classes=listed, flow=flow)
        return TaskParams(
            releases=[name],
            classes=listed,
            sampling=self.sampling,
            rank_pooling=self.rank_pooling,
            flow=flow,
            apex=True,
            landmarks=self.landmarks,
        )
