"""CASME II (Yan et al., PLoS ONE 2014), 200 fps, 640x480.

::

    CASME2-coding-20140508.xlsx                 (or another version: the newest by name is read)
    CASME2_RAW_selected/sub01/EP02_01f/img46.jpg    (numbers not padded)

Written from descriptions of the release and its real annotation sheet; it has met the sheet, not the
frames. The paper states 255 clips of 26 subjects.
"""

from __future__ import annotations

from pathlib import Path

from prep.releases.base import COLUMNS, Listing, ReleaseError, add_rows, read_sheet, whole_number

__all__ = ["read"]

FPS = 200.0
CLIPS = 255
SUBJECTS = 26


def read(root: Path) -> Listing:
    """Read CASME II from its folder.

    Raises
    ------
    ReleaseError
        If the sheet or the folder of frames is not there.
    """
    listing = Listing("casme2")
    sheets = sorted(root.glob("CASME2-coding-*.xlsx"))
    if not sheets:
        raise ReleaseError(f"{root}: CASME2-coding-*.xlsx not found; link the folder that holds it")
    frames = root / "CASME2_RAW_selected"
    if not frames.is_dir():
        raise ReleaseError(f"{frames} not found; link the folder that holds CASME2_RAW_selected/sub01/...")
    sheet = read_sheet(sheets[-1], COLUMNS)
    numbers = sheet["subject"].map(whole_number)
    sheet["subject"] = [
        text if number is None else f"sub{number:02d}" for text, number in zip(sheet["subject"], numbers, strict=True)
    ]
    listing.notes.append(
        f"{sheets[-1].name}: {len(sheet)} clips of {sheet['subject'].nunique()} subjects "
        f"(the paper states {CLIPS} of {SUBJECTS})"
    )
    add_rows(listing, sheet, root, lambda subject, clip: frames / subject / clip, "img*.jpg", FPS)
    return listing
