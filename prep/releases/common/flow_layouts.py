"""The two layouts in which the field exchanges flow images, and the list that goes with them.

``whole``: one folder; a space stands before each dot::

    STSNet_whole_norm_u_v_os/<subject>_<clip> .png

``three``: a folder for each fold of leave-one-subject-out; the union of all test folders is the data set::

    three_norm_u_v_os/<subject>/{u_train,u_test}/<label>/<subject>_<clip> .png

The list, ``combined_3_class2_for_optical_flow.csv``, has the columns dataset, sub, filename_o, label, apex, imagename
and sub_filename; one that `fdpbench export flow-images` writes has the class's name in ``class`` as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.sheets.columns import fold
from fdpbench.prep.sheets.tables import read_grids, whole_number

__all__ = ["HEAD", "SHEET", "TEST", "THREE", "TRAIN", "WHOLE", "Listed", "image_name", "listed_clips"]

WHOLE = "STSNet_whole_norm_u_v_os"
THREE = "three_norm_u_v_os"
TRAIN, TEST = "u_train", "u_test"
SHEET = "combined_3_class2_for_optical_flow.csv"
HEAD = ("dataset", "sub", "filename_o", "label", "apex", "imagename", "sub_filename", "class")

NEEDED = ("dataset", "sub", "filename_o", "label", "class")


class Listed(NamedTuple):
    """A row of a list: its number in the file, the clip, the index and the name of its class."""

    row: int
    dataset: str
    subject: str
    clip: str
    label: int
    class_name: str


def image_name(subject: str, clip: str) -> str:
    """File name of a clip's image."""
    return f"{subject}_{clip} .png"


def listed_clips(path: Path) -> list[Listed]:
    """Read a list whose classes have names.

    Parameters
    ----------
    path
        The list.

    Returns
    -------
    list of Listed
        In order of rows.

    Raises
    ------
    ReleaseError
        If the file is not there or cannot be read, a column is missing, a cell is empty, a label is no number or stands
        for two classes, or two rows would have one image.
    """
    grid = next(iter(read_grids(path).values()))
    header = {fold(name): place for place, name in grid.iloc[0].items()} if len(grid) else {}
    lacking = [name for name in NEEDED if fold(name) not in header]
    if lacking:
        raise ReleaseError(
            f"{path}: expected the columns {', '.join(NEEDED)}, {', '.join(lacking)} not found. A list of the MEGC2019 "
            "composite names no classes: read it as megc2019_flow"
        )
    found: list[Listed] = []
    images: dict[str, int] = {}
    classes: dict[int, str] = {}
    for number, cells in grid.iloc[1:].iterrows():
        dataset, subject, clip, label, class_name = (str(cells[header[fold(name)]]) for name in NEEDED)
        index = whole_number(label)
        if not all((dataset, subject, clip, class_name)) or index is None or index < 0:
            raise ReleaseError(f"{path}, row {number}: expected {', '.join(NEEDED)}, found {', '.join(cells)}")
        if classes.setdefault(index, class_name) != class_name or list(classes.values()).count(class_name) > 1:
            raise ReleaseError(f"{path}, row {number}: label {index} is {class_name!r}, in another row it is not")
        other = images.setdefault(image_name(subject, clip), number)
        if other != number:
            raise ReleaseError(f"{path}, row {number}: {image_name(subject, clip)} is the image of row {other} too")
        found.append(Listed(number, dataset, subject, clip, index, class_name))
    return found
