"""Reads a data set of one's own: a sheet, and image files or a video of each clip, as params.yaml describes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fdpbench.prep.releases import Release, ReleaseError
from fdpbench.prep.releases.common.base import Annotation, Annotations, Listing
from fdpbench.prep.releases.common.folders import add_clips
from fdpbench.prep.releases.common.frames import FolderProblem, Frames
from fdpbench.prep.releases.common.videos import ClipVideos
from fdpbench.prep.releases.own.files import Claims, Finder, matched, numbered_files
from fdpbench.prep.releases.own.sheet import annotations_of
from fdpbench.prep.settings.index import LostFrames
from fdpbench.prep.settings.release import FolderRelease
from fdpbench.prep.store.extracted import Extracted
from fdpbench.prep.store.schema import Reason
from fdpbench.prep.store.videos import SUFFIXES

__all__ = ["FolderReader"]


class FolderReader:
    """What a module that reads a release holds, made of settings."""

    def __init__(self, name: str, settings: FolderRelease) -> None:
        self.settings = settings
        self.RELEASE = Release(
            name=name,
            kind="frames",
            about=f"a data set of your own, described in params.yaml (releases.{name})",
            expects=f"{settings.sheet} and {settings.frames or settings.video} in it, as releases.{name} says",
            without_apex=settings.columns.apex is None,
            faces_may_be_published=settings.faces_may_be_published,
        )

    def annotations_of(self, sheet: Path) -> Annotations:
        """Read the sheet alone."""
        return annotations_of(self.RELEASE.name, self.settings, sheet)

    def read(self, root: Path, lost_frames: LostFrames) -> Listing:
        """Read the data set from its folder; `add_clips` says what ``lost_frames`` does.

        Raises
        ------
        ReleaseError
            If the sheet is not there, or lacks a column.
        """
        sheet = root / self.settings.sheet
        if not sheet.resolve().is_relative_to(root.resolve()):
            raise ReleaseError(f"params.yaml: releases.{self.RELEASE.name}.sheet leads out of {root}")
        found = self.annotations_of(sheet)
        listing = Listing.of(found)
        settings = self.settings
        recordings = [(clip.subject, clip.recording) for clip in found.clips]
        claims = Claims(Finder(root), str(settings.frames or settings.video), recordings)
        videos = ClipVideos(self.RELEASE.name, root, settings.first_frame, steady=settings.unit != "frames")
        add_clips(
            listing,
            found,
            root,
            lambda clip: self._images(claims, clip) if settings.video is None else self._video(claims, clip),
            lost_frames=settings.lost_frames or lost_frames,
            trimmed=True,
            videos=videos,
        )
        self._say_rates(videos.found, listing)
        return listing

    def _images(self, claims: Claims, clip: Annotation) -> Frames:
        """A clip's image files."""
        pattern = self.settings.frames
        assert pattern is not None
        values = {"subject": clip.subject, "clip": clip.recording}
        frames = numbered_files(claims.files_of((clip.subject, clip.recording)))
        frames.place = matched(pattern, values)
        if not frames.files:
            raise FolderProblem(Reason.MISSING_FILE, f"no image file {frames.place}; there is {frames}")
        return frames

    def _video(self, claims: Claims, clip: Annotation) -> Path:
        """A clip's video."""
        pattern = self.settings.video
        assert pattern is not None
        values = {"subject": clip.subject, "clip": clip.recording}
        found = claims.files_of((clip.subject, clip.recording))
        files = [path for path, _ in found if path.suffix.lower() in SUFFIXES]
        if len(files) != 1:
            there = f"there are {', '.join(path.name for path in files)}" if files else f"of {', '.join(SUFFIXES)}"
            reason = Reason.DUPLICATE if files else Reason.MISSING_FILE
            raise FolderProblem(reason, f"expected one video {matched(pattern, values)}; {there}")
        return files[0]

    def _say_rates(self, extracted: Mapping[str, Extracted], listing: Listing) -> None:
        """Note where videos say another frame rate than the settings, or one that varies."""
        readable = {video: found for video, found in extracted.items() if found.refused is None}
        varying = [video for video, found in readable.items() if found.varies]
        if varying:
            listing.notes.append(f"{len(varying)} videos have a frame rate that varies, such as {varying[0]}")
        rates = {video: found.rate for video, found in readable.items() if found.rate and not found.varies}
        fps = self.settings.fps
        others = {video: rate for video, rate in rates.items() if fps and abs(rate - fps) > 0.01 * fps}
        if others:
            video, rate = next(iter(others.items()))
            listing.notes.append(
                f"{len(others)} videos say another frame rate than fps: {fps:g}, such as {video}: {rate:.5g}; right if "
                "they were recorded at fps and are played slower"
            )
