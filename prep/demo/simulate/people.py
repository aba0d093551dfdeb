"""Rendered faces for simulated releases: few people and few strengths of an expression, each rendered once.

A face is kept in linear light. Brightness and the sensor's noise then make as many different frames of it
as a release needs, at a millisecond each, where rendering one takes a tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fdpbench.prep.align.geometry import to_grey
from fdpbench.prep.demo.synth.camera import SUPERSAMPLING, Camera, Pose, expose
from fdpbench.prep.demo.synth.render import Light, Renderer
from fdpbench.prep.demo.synth.subject import build_subject
from fdpbench.prep.demo.synth.truth import landmark_motion

__all__ = ["HEIGHT", "STEPS", "WIDTH", "People", "encode_jpeg", "render_people"]

PEOPLE = 2
EXPRESSIONS = (("AU12",), ("AU1", "AU2"), ("AU4", "AU9"))
STEPS = 4  # strengths of an expression, rest not counted
PEAK = 1.5  # motion of the landmark that moves most at full strength, px

# Frames are 4:3, as most cameras give them: a band of the rendered square that holds the whole face.
WIDTH, HEIGHT, TOP = 120, 90, 16

JPEG_QUALITY = 95


@dataclass(frozen=True, eq=False)
class People:
    """A few rendered people.

    Attributes
    ----------
    light
        Shape (people, expressions, STEPS + 1, 3, HEIGHT, WIDTH), float32, linear: red, green, blue.
    """

    light: NDArray[np.float32]

    def frame(
        self, subject: int, expression: int, strength: float, rng: np.random.Generator, grey: bool
    ) -> NDArray[np.uint8]:
        """Photograph a subject.

        Parameters
        ----------
        subject
            Number of the subject. Few people play all subjects, with other brightness and mirrored.
        expression
            Any number; the expressions take turns.
        strength
            Of the expression, 0 to 1.
        rng
            Source of the sensor's noise.
        grey
            Whether the camera sees no colour: the three channels are equal then.

        Returns
        -------
        Shape (HEIGHT, WIDTH, 3), uint8, RGB.
        """
        people, expressions, steps = self.light.shape[:3]
        light = self.light[subject % people, expression % expressions, round(strength * (steps - 1))]
        if subject // people % 2:
            light = light[..., ::-1]
        image = expose(light * np.float32(0.8 + 0.1 * (subject % 5)), rng)
        if grey:
            image = np.repeat(to_grey(image)[..., None], 3, axis=2)
        return image


@lru_cache(maxsize=1)
def render_people(seed: int) -> People:
    """Render the people of a seed; takes a few seconds the first time."""
    camera = Camera(WIDTH)
    light = np.empty((PEOPLE, len(EXPRESSIONS), STEPS + 1, 3, HEIGHT, WIDTH), np.float32)
    for person in range(PEOPLE):
        identity = int(np.random.SeedSequence([seed, person]).generate_state(1, np.uint64)[0])
        renderer = Renderer(build_subject(identity, camera.pixels_per_dm * SUPERSAMPLING), camera)
        head = renderer.subject.head
        still = renderer.frame(np.zeros_like(head.vertices), Pose(), (0.0, 0.0), Light())  # (3, S, S)
        light[person, :, 0] = still[:, TOP : TOP + HEIGHT]
        for expression, units in enumerate(EXPRESSIONS):
            weights = dict.fromkeys(units, 1.0)
            full = head.displacement(weights) * np.float32(PEAK / landmark_motion(renderer, weights, Pose()))  # (V, 3)
            for step in range(1, STEPS + 1):
                image = renderer.frame(full * np.float32(step / STEPS), Pose(), (0.0, 0.0), Light())
                light[person, expression, step] = image[:, TOP : TOP + HEIGHT]
    return People(light)


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Encode an RGB frame, shape (H, W, 3), as JPEG."""
    options = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()
