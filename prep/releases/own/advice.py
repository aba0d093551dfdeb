"""What to change in params.yaml, or in the data, so that a clip that was left out can be used."""

from __future__ import annotations

from collections import Counter

from fdpbench.prep.releases.common.base import Listing
from fdpbench.prep.store.schema import Reason

__all__ = ["advice"]

_PATTERN = "compare the pattern `frames` or `video` with the names there ({subject:02} writes 7 as 07, * is any text)"

CURES = {
    Reason.MISSING_FOLDER: _PATTERN,
    Reason.MISSING_FILE: f"{_PATTERN}; where only some frames are missing, `lost_frames: keep` uses the others; where "
    "the sheet counts a video's frames from 0, `first_frame: 0`",
    Reason.BAD_ROW: "correct these cells; where marks are times, say `unit: seconds` or `milliseconds`; leave a mark "
    "empty where it is not known",
    Reason.BAD_MARKS: "correct the marks in the sheet, or `unit`; onset, apex and offset must rise",
    Reason.DUPLICATE: "keep one of the rows or files, or write a pattern that takes one of them, such as img*.png",
    Reason.OUTSIDE_RELEASE: "put the files themselves into the folder, not links to others",
    Reason.EMPTY_FILE: "copy the file again",
    Reason.NOT_A_VIDEO: "copy the file again, or leave its row out",
    Reason.TRUNCATED_VIDEO: "copy the file again, or save what is left of it as the message says",
    Reason.DAMAGED_VIDEO: "copy the file again, or save what is left of it as the message says",
    Reason.WRONG_SIZE: "cut the video where its pictures change their size",
    Reason.UNREADABLE_FILE: "check the permissions of the file or folder",
}


def advice(listing: Listing) -> list[str]:
    """A line for each reason for which clips of a data set of one's own were left out, with what to change."""
    counts = Counter(Reason(row["reason"]) for row in listing.rejected)
    return [f"{reason} ({count}): {CURES[reason]}" for reason, count in sorted(counts.items()) if reason in CURES]
