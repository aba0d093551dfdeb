"""The layouts of CASME II, CAS(ME)^2 and CAS(ME)^3, with the quirks of their sheets."""

from __future__ import annotations

from fdpbench.prep.demo.simulate.sheets import Cell, write_workbook
from fdpbench.prep.demo.simulate.site import Clip, Simulated, Site, depth_png, layout_of
from fdpbench.prep.store.schema import Reason

__all__ = ["casme2", "casme3_a", "casme3_c", "casme_sq"]

# Number of a stimulus, its name in the sheet and in names of folders.
STIMULI = ((101, "disgust1", "disgustingteeth"), (402, "anger2", "quarrel"), (503, "happy3", "kitten"))

OBJECTIVE = ("I", "II", "III", "IV", "V", "VI", "VII")


@layout_of("casme2", versions=("2014", "2019", "cropped"))
def casme2(site: Site, version: str) -> Simulated:
    """CASME II: raw frames not padded, cropped ones beside them, blank columns, empty further sheets.

    Subjects are text (`01`) and numbers in turn; the last clip has no apex. The sheet of 2019 has a column
    more. Version `cropped` is a release of which the crops alone are there.
    """
    newer = version == "2019"
    head: list[Cell] = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units"]
    rows = [[*head, *(["Objective Classes"] if newer else []), "Estimated Emotion"]]
    clips = list(site.plan(("happiness", "others", "disgust", "repression", "surprise"), (20, 400)))
    for position, clip in enumerate(clips):
        if 0 < position == len(clips) - 1:
            clip = clip.without_apex()
        name = f"EP{30 + clip.number:02d}_{clip.subject:02d}{'f' if clip.number % 2 else ''}"
        subject = f"{clip.subject:02d}" if clip.subject % 2 else clip.subject
        folder = f"sub{clip.subject:02d}/{name}"
        units = int(clip.units) if clip.units.isdigit() else clip.units
        marks = [clip.onset, "/" if clip.apex is None else clip.apex, clip.offset]
        rows.append([subject, name, None, *marks, None, units, *([1] if newer else []), clip.emotion])

        def cropped(number: int, data: bytes, folder: str = folder) -> None:
            site.write(f"Cropped/{folder}/reg_img{number}.jpg", data)

        alone = version == "cropped"
        place = f"Cropped/{folder}" if alone else f"CASME2_RAW_selected/{folder}"
        file = ("reg_img{}.jpg" if alone else "img{}.jpg").format
        site.frames(place, file, [clip], more=None if alone else cropped)
        site.add(f"casme2/{folder}", clip, 200.0, place, file)
    sheet = f"CASME2-coding-{'20190701' if newer else '20140508'}.xlsx"
    write_workbook(site.root / sheet, {"Sheet1": rows, "Sheet2": [], "Sheet3": []})
    return site.simulated(sheet)


@layout_of("casme_sq", versions=("final",))
def casme_sq(site: Site, version: str) -> Simulated:
    """CAS(ME)^2: long videos, three sheets without a header, macro-expressions among the rows.

    The first subject's macro-expression has neither apex nor offset; a further micro-expression of that
    subject has no offset, so that nobody knows where it ends.
    """
    expressions: list[list[Cell]] = []
    subjects: list[list[Cell]] = []
    by_subject: dict[int, list[Clip]] = {}
    for clip in site.plan(("negative", "positive", "surprise", "others"), (12, 24), in_one_video=True):
        by_subject.setdefault(clip.subject, []).append(clip)
    for subject, clips in by_subject.items():
        number, stimulus, title = STIMULI[subject % len(STIMULI)]
        folder = f"s{60 + subject}"
        subjects.append([60 + subject, folder, subject])
        place = f"rawpic/{folder}/{60 + subject}_{number:04d}{title}"
        name = "img{:03d}.jpg".format
        clips[-1] = clips[-1].without_apex()
        for clip in clips:
            video = f"{stimulus}_{clip.number}"
            marks = [clip.onset, clip.apex or 0, clip.offset]
            expressions.append([subject, video, *marks, clip.units, clip.emotion, "micro-expression", "disgust"])
            site.add(f"casme_sq/{folder}/{video}", clip, 30.0, place, name)
        end = clips[-1].offset
        video = f"{stimulus}_{len(clips) + 1}"
        marks = [end + 2, 0, 0] if subject == 1 else [end + 2, end + 4, end + 6]
        expressions.append([subject, video, *marks, "4", "negative", "macro-expression", "disgust"])
        site.left_out[f"casme_sq/{folder}/{video}_{end + 2}"] = Reason.MACRO_EXPRESSION
        if subject == 1:
            video = f"{stimulus}_{len(clips) + 2}"
            expressions.append([subject, video, end + 3, end + 4, 0, "4", "others", "micro-expression", "anger"])
            site.left_out[f"casme_sq/{folder}/{video}"] = Reason.BAD_MARKS
        site.frames(place, name, clips, first=1, last=end + 8)
    rules: list[list[Cell]] = [
        [f"{number:04d}" if number < 400 else number, stimulus] for number, stimulus, _ in STIMULI
    ]
    sheet = "CAS(ME)^2code_final.xlsx"
    sheets = {"CASFEcode_final": expressions, "naming rule1": subjects, "naming rule2": rules}
    write_workbook(site.root / sheet, sheets)
    return site.simulated(sheet)


@layout_of("casme3_a", versions=("v2",))
def casme3_a(site: Site, version: str) -> Simulated:
    """CAS(ME)^3, part A: every cell is text, a video holds several clips, depth images beside the colour ones.

    One clip's emotion is spelt `Others`.
    """
    rows: list[list[Cell]] = [["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]]
    videos: dict[str, list[Clip]] = {}
    emotions = ("disgust", "Others", "surprise", "fear", "anger", "sad", "happy", "others")
    for clip in site.plan(emotions, (30, 400), in_one_video=True):
        subject = f"spNO.{300 + clip.subject}"
        videos.setdefault(f"{subject}/a", []).append(clip)
        marks = [str(mark) for mark in (clip.onset, clip.apex, clip.offset)]
        objective = OBJECTIVE[clip.expression % len(OBJECTIVE)]
        rows.append([subject, "a", *marks, clip.units, objective, clip.emotion])
        site.add(f"casme3_a/{subject}/a_{clip.onset}", clip, 30.0, f"{subject}/a/color", "{}.jpg".format)
    depth = depth_png()
    for video, clips in videos.items():

        def deep(number: int, data: bytes, video: str = video) -> None:
            site.write(f"{video}/depth/{number}.png", depth)

        site.frames(f"{video}/color", "{}.jpg".format, clips, more=deep)
    sheet = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    counts: list[list[Cell]] = [["emotion", "count"], ["disgust", 1]]
    write_workbook(site.root / sheet, {"label": rows, "Sheet1": counts, "Sheet3": []})
    return site.simulated(sheet)


@layout_of("casme3_c", versions=("video", "flat"))
def casme3_c(site: Site, version: str) -> Simulated:
    """CAS(ME)^3, part C: no apex, its own emotions; one recording a subject, `color` in its folder or a further one."""
    rows: list[list[Cell]] = [["sub", "count", "onset", "offset", "au", "emotion"]]
    recordings: dict[str, list[Clip]] = {}
    for clip in site.plan(("negative", "surprise", "positive", "others"), (10, 60), in_one_video=True):
        clip = clip.without_apex()
        subject = f"{clip.subject:02d}"
        folder = f"{subject}/a/color" if version == "video" else f"{subject}/color"
        recordings.setdefault(folder, []).append(clip)
        rows.append([clip.subject, clip.number, clip.onset, clip.offset, clip.units, clip.emotion])
        site.add(f"casme3_c/{subject}/{clip.number}", clip, 30.0, folder, "{}.jpg".format)
    for folder, clips in recordings.items():
        site.frames(folder, "{}.jpg".format, clips)
    sheet = "CAS(ME)3_part_C_ME.xlsx"
    write_workbook(site.root / sheet, {"Sheet1": rows})
    return site.simulated(sheet)
