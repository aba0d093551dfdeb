"""The layouts of the MEGC2019 composite: three releases under an official list, and its flow images."""

from __future__ import annotations

from dataclasses import replace

from fdpbench.prep.align.geometry import to_grey
from fdpbench.prep.demo.simulate.layouts import samm, smic
from fdpbench.prep.demo.simulate.layouts_casme import casme2
from fdpbench.prep.demo.simulate.sheets import Cell, write_csv
from fdpbench.prep.demo.simulate.site import Clip, Simulated, SimulatedClip, Site, layout_of
from fdpbench.prep.flow.flow_images import encode_flow_image
from fdpbench.prep.flow.methods import flow_field, resize_flow, scale_per_image

__all__ = ["flow_images", "megc2019"]

OFFICIAL = "combined_3class_gt.csv"
CLASSES = ("negative", "positive", "surprise")
NEGATIVE = {"disgust", "repression", "anger", "contempt", "fear", "sadness", "negative"}
POSITIVE = {"happiness", "positive"}

PARTS = {"casme2": (casme2, "2014"), "samm": (samm, "v2"), "smic_hs": (smic, "workbook")}

SHEET = "combined_3_class2_for_optical_flow.csv"
FLOW_SIDE = 28


@layout_of("megc2019", versions=("frames",))
def megc2019(site: Site, version: str) -> Simulated:
    """The composite from frames: three release folders, and the official list of the clips that are in it."""
    official: list[list[Cell]] = []
    for folder, (layout, part_version) in PARTS.items():
        part_site = Site(site.root / folder, folder, site.subjects, site.clips, site.seed)
        part_site.mark()
        part = layout(part_site, part_version)
        for clip in part.clips:
            emotion = _class_of(clip.emotion)
            if emotion is None:
                continue
            _, subject, name = clip.clip_id.split("/")
            dataset = folder.removesuffix("_hs")
            official.append([dataset, subject, name, CLASSES.index(emotion)])
            frames = tuple(f"{folder}/{frame}" for frame in clip.frames)
            site.found.append(replace(clip, clip_id=f"{dataset}/{subject}/{name}", emotion=emotion, frames=frames))
    write_csv(site.root / OFFICIAL, official, line_end="\r\n")
    return site.simulated(OFFICIAL)


@layout_of("flow_images", "megc2019_flow", versions=("whole", "three", "both"))
def flow_images(site: Site, version: str) -> Simulated:
    """The composite as flow images of 28x28, a space before each dot, in layout `whole`, `three` or both.

    The flow is that of the rendered faces: u, v and strain as red, green and blue, each scaled to its range.
    In `three` every clip stands in the test folder of its subject and in the training folder of the others. What is
    exported of a task has its list in every version, with names of classes; the composite has its official list.
    """
    composite = site.release == "megc2019_flow"
    head: list[Cell] = ["dataset", "sub", "filename_o", "label", "apex", "imagename", "sub_filename"]
    head += [] if composite else ["class"]
    rows, official = [head], []
    subjects: list[str] = []
    stored: list[tuple[str, int, str, bytes]] = []  # subject, label, file name, PNG
    for dataset in ("casme2", "smic", "samm"):
        for clip in site.plan(CLASSES, (1, 1)):
            label = CLASSES.index(clip.emotion)
            subject, name, in_image_name = _names(dataset, clip)
            row: list[Cell] = [dataset, subject, name, label, None, f"{in_image_name}.jpg", None]
            rows.append([*row, *([] if composite else [clip.emotion])])
            official.append([dataset, subject, name, label])
            file = f"{subject}_{name} .png"
            png = _flow_image(site, clip)
            stored.append((subject, label, file, png))
            subjects += [] if subject in subjects else [subject]
            place = f"three_norm_u_v_os/{subject}/u_test/{label}"
            if version != "three":
                place = "STSNet_whole_norm_u_v_os"
                site.write(f"{place}/{file}", png)
            clip_id = f"{dataset}/{subject}/{name}"
            site.found.append(SimulatedClip(clip_id, clip.emotion, None, None, None, None, (f"{place}/{file}",)))
    if version != "three" or not composite:
        write_csv(site.root / SHEET, rows)
    if version != "whole":
        for fold in subjects:
            for subject, label, file, png in stored:
                part = "u_test" if subject == fold else "u_train"
                site.write(f"three_norm_u_v_os/{fold}/{part}/{label}/{file}", png)
    if composite:
        write_csv(site.root / OFFICIAL, official, line_end="\r\n")
    return site.simulated(OFFICIAL if version == "three" and composite else SHEET)


def _class_of(emotion: str) -> str | None:
    if emotion in NEGATIVE:
        return "negative"
    if emotion in POSITIVE:
        return "positive"
    return emotion if emotion == "surprise" else None


def _names(dataset: str, clip: Clip) -> tuple[str, str, str]:
    """Subject and clip, and the two as the sheet's column of image names has them."""
    if dataset == "casme2":
        subject, name = f"sub{clip.subject:02d}", f"EP{30 + clip.number:02d}_{clip.subject:02d}f"
    elif dataset == "samm":
        subject, name = f"{40 + clip.subject:03d}", f"{40 + clip.subject:03d}_{clip.expression + 1}_{clip.number}"
    else:
        tail = f"_{('ne', 'po', 'sur')[clip.expression]}_{30 + clip.number}"
        return f"s{clip.subject:02d}", f"s{clip.subject:02d}{tail}", f"s{clip.subject:02d}_s{clip.subject}{tail}"
    return subject, name, f"{subject}_{name}"


def _flow_image(site: Site, clip: Clip) -> bytes:
    """PNG of a clip's onset-to-peak flow, 28x28: u, v, strain."""
    onset, peak = (to_grey(site.picture(clip, strength)) for strength in (0.0, 1.0))
    return encode_flow_image(scale_per_image(resize_flow(flow_field(onset, peak), FLOW_SIDE)))
