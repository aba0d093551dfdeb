"""The layouts of SAMM, SMIC, MMEW, 4DME and DFME, with the quirks of their sheets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fdpbench.prep.demo.simulate.sheets import Cell, write_csv, write_workbook
from fdpbench.prep.demo.simulate.site import Simulated, Site, layout_of

__all__ = ["dfme", "fourdme", "mmew", "samm", "smic"]

SMIC_FPS = {"HS": 100, "VIS": 25, "NIR": 25}
SMIC_SHORT = {"negative": "ne", "positive": "po", "surprise": "sur"}

# Like the real one, SAMM's sheet begins with prose that holds commas, semicolons and a legend.
SAMM_PROSE: tuple[tuple[Cell, ...], ...] = (
    ("Simulated micro-movements, in the form of SAMM", None, None, None, "(Note to users: invented; do not cite.)"),
    (),
    ("1/1/20 - Emotions and classes follow; see below:", *[None] * 7, "no source, no year;"),
    (None, None, None, None, "(Note to users: for classes, see nothing, nowhere, never.)"),
    (),
    ("Symbol Key:",),
    ('"/" = or',),
    ('"?" = unclear offset',),
    (),
    ("AU Help:",),
    ('"L2 or R2" = one side of the face',),
    ('"A2" = stronger on one side',),
    (),
)
SAMM_COLUMNS = (
    "Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro",
    "Action Units", "Estimated Emotion", "Objective Classes", "Notes",
)  # fmt: skip


@layout_of("samm", versions=("v2", "reordered"))
def samm(site: Site, version: str) -> Simulated:
    """SAMM: grey frames, prose above the header, formulas, subjects as text and numbers, two spellings of other.

    Version `reordered` has the last columns in another order.
    """
    columns = [*SAMM_COLUMNS[:8], *reversed(SAMM_COLUMNS[8:])] if version == "reordered" else [*SAMM_COLUMNS]
    rows: list[list[Cell]] = [*map(list, SAMM_PROSE), [*columns]]
    for clip in site.plan(("Anger", "Happiness", "Other", "Surprise", "Contempt", "Others"), (2000, 6000)):
        subject = f"{40 + clip.subject:03d}"
        name = f"{subject}_{clip.expression + 1}_{clip.number}"
        row = len(rows) + 1
        cells = {
            "Subject": subject if clip.subject % 2 else int(subject),
            "Filename": name,
            "Inducement Code": clip.expression + 1,
            "Onset Frame": clip.onset,
            "Apex Frame": clip.apex,
            "Offset Frame": clip.offset,
            "Duration": f"=SUM(F{row}-D{row})+1",
            "Micro": "Micro - 1/2",
            "Action Units": f"{clip.units} or L14",
            "Estimated Emotion": clip.emotion,
            "Objective Classes": 3,
            "Notes": "While blinking" if clip.number == 1 else None,
        }
        rows.append([cells[column] for column in columns])
        files = partial("{}_{:05d}.jpg".format, subject)
        site.frames(f"{subject}/{name}", files, [clip], grey=True)
        emotion = "other" if clip.emotion.startswith("Other") else None
        site.add(f"samm/{subject}/{name}", clip, 200.0, f"{subject}/{name}", files, emotion=emotion)
    sheet = "SAMM_Micro_FACS_Codes_v2.xlsx"
    write_workbook(site.root / sheet, {"MICRO_ONLY": rows})
    return site.simulated(sheet)


@layout_of("smic_hs", "smic_vis", "smic_nir", versions=("workbook", "long", "table-csv", "table-xlsx"))
def smic(site: Site, version: str) -> Simulated:
    """SMIC: one sheet for each camera, no apex, subjects written `s1` and `s01` in sheet and folders.

    Versions `table-csv` and `table-xlsx` are the second layout of the sheet, one table for all cameras and other data
    sets, with an apex. Version `long` is the release's long one: no emotion stands in its folders, and the first row
    holds two micro-expressions.
    """
    camera = site.release.removeprefix("smic_").upper()
    first = ["Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", "FirstF", "LastF", "TotalMF1"]
    books: dict[str, list[list[Cell]]] = {name: [[*first, "TotalVL", "Emotion"]] for name in SMIC_FPS}
    table: list[list[Cell]] = [
        ["data", "subject", "clip", "label", "onset_frame", "apex_frame", "offset_frame", "paths"],
        ["casme2", "sub41", "EP41_01", "others", 11, 15, 19, None],
    ]
    for position, clip in enumerate(site.plan(tuple(SMIC_SHORT), (10000, 99000))):
        tail = f"_{SMIC_SHORT.get(clip.emotion, clip.emotion[:2].lower())}_{30 + clip.number}"
        short, padded = f"s{clip.subject}", f"s{clip.subject:02d}"
        # where the sheet has one spelling, the folders have the other
        in_sheet, in_folder = (short, padded) if clip.subject % 2 else (padded, short)
        folder = f"{camera}/{in_folder}/micro/{clip.emotion}/{in_folder}{tail}"
        shown = [clip]
        second: list[Cell] = [None, None]
        if version == "long":
            folder = f"{camera}_long/SMIC_{camera}_E/{in_folder}/{in_folder}{tail}"
            if position == 0:
                start = clip.offset + 4
                shown.append(replace(clip, onset=start, apex=None, peak=start + 5, offset=start + 10))
                second = [start, start + 10]
        last = shown[-1].offset + 2
        for name, rows in books.items():
            shift = 0 if name == camera else 7  # the other cameras' numbers are others
            marks = [clip.onset + shift, clip.offset + shift, *second, clip.onset - 3, last]
            length = clip.offset - clip.onset + 1
            rows.append([clip.subject, in_sheet + tail, None, *marks, length, last - clip.onset + 4, clip.emotion])
            numbered = version != "table-xlsx" and clip.emotion in SMIC_SHORT
            label = tuple(SMIC_SHORT).index(clip.emotion) if numbered else clip.emotion
            marks = [clip.onset + shift, clip.peak + shift, clip.offset + shift]
            table.append([f"SMIC_{name}", in_sheet, in_sheet + tail, label, *marks, folder.replace(camera, name)])
        if not version.startswith("table"):
            shown[0] = clip.without_apex()
        site.frames(folder, "image{}.jpg".format, shown, last=last)
        for key, one in zip((f"{padded}{tail}", f"{padded}{tail}_2"), shown, strict=False):
            place = f"{site.release}/{padded}/{key}"
            site.add(place, one, float(SMIC_FPS[camera]), folder, "image{}.jpg".format)
    sheet = f"SMIC-HS-E_annotation.{'csv' if version == 'table-csv' else 'xlsx'}"
    if version == "table-csv":
        write_csv(site.root / sheet, table)
    else:
        write_workbook(site.root / sheet, {"Sheet1": table} if version.startswith("table") else books)
    return site.simulated(sheet)


@layout_of("mmew", versions=("trimmed",))
def mmew(site: Site, version: str) -> Simulated:
    """MMEW: a folder for each emotion; the sheet counts frames of the recording, the files a clip's own."""
    head: list[Cell] = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units"]
    rows = [[*head, "Estimated Emotion", "remarks"]]
    for clip in site.plan(("happiness", "surprise", "disgust", "fear", "sadness", "anger", "others"), (50, 900)):
        subject = f"S{clip.subject:02d}"
        name = f"{subject}-{70 + clip.number:02d}-{clip.number:03d}"
        folder = f"Micro_Expression/{clip.emotion}/{name}"
        shift = 1 - clip.onset
        marks = [clip.onset, clip.apex, clip.offset]
        number = subject if clip.subject % 2 else clip.subject
        rows.append([number, name, *marks, clip.units, clip.emotion, None])
        site.frames(folder, "{}.jpg".format, [clip], shift=shift, alone=True)
        site.add(f"mmew/{subject}/{name}", clip, 90.0, folder, "{}.jpg".format, shift=shift)
    sheet = "MMEW_Micro_Exp.xlsx"
    write_workbook(site.root / sheet, {"Sheet1": rows})
    return site.simulated(sheet)


@layout_of("fourdme", versions=("trimmed", "numbered"))
def fourdme(site: Site, version: str) -> Simulated:
    """4DME: grey clips, some with two emotions at once; files numbered as the sheet counts, or from 1."""
    rows: list[list[Cell]] = [["sub_ID", "fold_name", "Emotion", "Onset", "Apex", "Offset", "AUs"]]
    for clip in site.plan(("Positive", "Negative", "Surprise", "Positive Surprise", "Others"), (100, 3000)):
        subject = f"{800 + clip.subject}"
        name = f"{subject}_{clip.number}_{clip.onset}"
        rows.append([int(subject), name, clip.emotion, clip.onset, clip.apex, clip.offset, clip.units])
        folder = f"gray_micro/{subject}/{name}"
        trimmed = version == "trimmed"
        shift = 1 - clip.onset if trimmed else 0
        site.frames(folder, "{:04d}.jpg".format, [clip], shift=shift, grey=True, alone=trimmed)
        site.add(f"fourdme/{subject}/{name}", clip, 60.0, folder, "{:04d}.jpg".format, shift=shift)
    sheet = "4DME_Labelling_Micro_release v1.xlsx"
    write_workbook(site.root / sheet, {"Sheet1": rows})
    return site.simulated(sheet)


@layout_of("dfme", versions=("numbered", "trimmed"))
def dfme(site: Site, version: str) -> Simulated:
    """DFME: frames per second differ from clip to clip; files numbered as the sheet counts, or from 0."""
    head: list[Cell] = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "EmotionId"]
    rows = [[*head, "Fps", "AU"]]
    emotions = ("happiness", "anger", "contempt", "disgust", "fear", "sadness", "surprise")
    trimmed = version == "trimmed"
    for clip in site.plan(emotions, (100, 900)):
        subject = f"sub{9000 + clip.subject}"
        name = f"{subject}_{clip.number:02d}"
        fps = (200, 300, 500)[clip.subject % 3]
        marks = [clip.onset, clip.apex, clip.offset]
        rows.append([subject, name, *marks, clip.emotion, clip.expression, fps, clip.units])
        folder = f"{'train/' if trimmed else ''}{subject}/{name}"
        shift = -clip.onset if trimmed else 0
        site.frames(folder, "{}.jpg".format, [clip], shift=shift, alone=trimmed)
        site.add(f"dfme/{subject}/{name}", clip, float(fps), folder, "{}.jpg".format, shift=shift)
    sheet = "train_labels.csv" if trimmed else "DFME_train.xlsx"
    if trimmed:
        write_csv(site.root / sheet, rows)
    else:
        write_workbook(site.root / sheet, {"Sheet1": rows})
    return site.simulated(sheet)
