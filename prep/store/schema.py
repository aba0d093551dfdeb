"""Arrow schemas of the tables that cross a stage, and the checks that go with them.

=============  ============================================  ===========================================
table          where                                         one row for
=============  ============================================  ===========================================
manifest       data/manifest/<release>/manifest.parquet      each clip of a release
rejected       data/manifest, data/aligned, data/task        each clip or file left out, with a reason
frames         data/aligned/<release>/frames-*.parquet       each aligned frame, clips adjacent, in order
contents       data/aligned/<release>/clips.parquet          each aligned clip: its shard, a hash of its rows
dynamic        data/dynamic/<task>/dynamic.parquet           each clip: sampled frames, dynamic image
flow           data/flow/<release>/flow.parquet              each clip: onset-to-apex u, v, strain
=============  ============================================  ===========================================

The task's table, data/task/<task>/clips.parquet, follows the inputs of models: `prep.task.table`.

Tables with pixels hold one row group for each subject, so that a fold reads its training subjects
without touching the test subject's bytes.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

__all__ = [
    "CONTENTS",
    "DYNAMIC",
    "FLOW",
    "FRAMES",
    "MANIFEST",
    "REJECTED",
    "Reason",
    "SchemaError",
    "check_manifest",
    "rejected_table",
]


class SchemaError(ValueError):
    """A table does not hold what its schema and its stage promise; the message names the row."""


class Reason(StrEnum):
    """Why a clip or a file was left out: the closed list of `rejected.parquet`."""

    MISSING_FILE = "missing_file"
    MISSING_FOLDER = "missing_folder"
    EMPTY_FILE = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED_IMAGE = "truncated_image"
    DAMAGED_IMAGE = "damaged_image"
    UNSUPPORTED_DEPTH = "unsupported_depth"
    UNSUPPORTED_CODING = "unsupported_coding"
    TRANSPARENT_IMAGE = "transparent_image"
    TOO_LARGE = "too_large"
    UNREADABLE_FILE = "unreadable_file"
    NOT_A_VIDEO = "not_a_video"
    TRUNCATED_VIDEO = "truncated_video"
    DAMAGED_VIDEO = "damaged_video"
    WRONG_SIZE = "wrong_size"
    BAD_ROW = "bad_row"
    BAD_MARKS = "bad_marks"
    UNKNOWN_EMOTION = "unknown_emotion"
    CONTRADICTS_NAME = "contradicts_name"
    MACRO_EXPRESSION = "macro_expression"
    OUTSIDE_RELEASE = "outside_release"
    DUPLICATE = "duplicate"
    NOT_IN_SHEET = "not_in_sheet"
    NO_FACE = "no_face"
    SEVERAL_FACES = "several_faces"
    LOST_FACE = "lost_face"
    NO_APEX = "no_apex"
    APEX_IS_ONSET = "apex_is_onset"
    NO_VARIATION = "no_variation"
    TOO_FEW_FRAMES = "too_few_frames"
    OTHER_EMOTION = "other_emotion"
    NO_FLOW = "no_flow"
    NO_FRAMES = "no_frames"


MANIFEST = pa.schema(
    [
        ("clip_id", pa.string()),  # dataset/subject/clip
        ("dataset", pa.string()),
        ("subject", pa.string()),  # dataset/subject: two releases may both have an s01
        ("fps", pa.float64()),  # null where the release does not say
        ("onset", pa.int32()),  # numbers as the sheet counts frames; null where it has none
        ("apex", pa.int32()),
        ("offset", pa.int32()),
        ("emotion", pa.string()),  # as annotated
        ("action_units", pa.string()),
        ("frames", pa.list_(pa.string())),  # onset..offset, in time order, relative to the release
        ("frame_numbers", pa.list_(pa.int32())),  # the sheet's number of each of them
    ]
)

REJECTED = pa.schema(
    [
        ("clip_id", pa.string()),  # or the file, where no clip could be named
        ("reason", pa.string()),  # a Reason
        ("detail", pa.string()),
    ]
)

FRAMES = pa.schema(
    [
        ("clip_id", pa.string()),
        ("subject", pa.string()),
        ("frame", pa.int32()),  # the sheet's number of the frame
        ("source", pa.string()),  # relative to the release
        ("image", pa.binary()),  # PNG of the crop
        ("landmarks", pa.list_(pa.float32())),  # x0, y0, x1, y1, ... in the crop, pixels; null: not sought or found
        ("transform", pa.list_(pa.float64())),  # 2x3, row by row: source pixel to crop pixel
    ]
)

CONTENTS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("subject", pa.string()),
        ("shard", pa.string()),  # name of the file that holds it
        ("frames", pa.int32()),  # number of its rows
        ("sha256", pa.string()),  # of its rows' values, in order: `prep.store.contents.content_hash`
    ]
)

DYNAMIC = pa.schema(
    [
        ("clip_id", pa.string()),
        ("subject", pa.string()),
        ("sampled", pa.list_(pa.int32())),  # the sheet's numbers of the sampled frames; under `tim`, of the nearest
        ("frames", pa.list_(pa.binary())),  # T grey PNGs; null under rule `all`
        ("dynamic_image", pa.binary()),  # grey PNG, min-max scaled
        ("landmarks", pa.list_(pa.list_(pa.float32()))),  # x0, y0, ... of each of the T; null: not asked for
    ]
)

FLOW = pa.schema(
    [
        ("clip_id", pa.string()),
        ("subject", pa.string()),
        ("unit", pa.string()),  # "pixels" of the crop, or "image": 0..1, scaled for each clip
        ("side", pa.int32()),
        ("apex", pa.int32()),  # the sheet's number of the frame that flow leads to; null for flow images
        ("apex_source", pa.string()),  # "annotated" or "estimated"; null for flow images
        ("apex_image", pa.binary()),  # grey PNG of the apex frame's crop; null for flow images
        ("flow", pa.list_(pa.float32())),  # u, v, strain: 3 x side x side, row by row
    ]
)


def rejected_table(rows: list[dict[str, str]]) -> pa.Table:
    """Return rejections as a table, sorted, so that the bytes repeat."""
    rows = sorted(rows, key=lambda row: (row["clip_id"], row["reason"], row["detail"]))
    return pa.Table.from_pylist(rows, schema=REJECTED)


def check_manifest(table: pa.Table) -> None:
    """Check what the Arrow types cannot say of a manifest.

    Raises
    ------
    SchemaError
        If the columns differ from `MANIFEST`, a clip stands twice, a subject key does not carry its
        release, or onset, apex and offset are out of order; the clip is named.
    """
    if not table.schema.equals(MANIFEST):
        raise SchemaError(f"manifest columns are {table.schema.names}, expected {MANIFEST.names}")
    seen: set[str] = set()
    for row in table.drop_columns(["frames", "frame_numbers"]).to_pylist():
        clip_id = row["clip_id"]
        if clip_id in seen:
            raise SchemaError(f"{clip_id}: stands twice in the manifest")
        seen.add(clip_id)
        if not clip_id.startswith(row["subject"] + "/") or not row["subject"].startswith(row["dataset"] + "/"):
            raise SchemaError(f"{clip_id}: expected dataset/subject/clip, with subject {row['subject']!r}")
        marks = [row[name] for name in ("onset", "apex", "offset") if row[name] is not None]
        if marks != sorted(marks):
            raise SchemaError(f"{clip_id}: onset, apex, offset are {marks}, expected in rising order")
