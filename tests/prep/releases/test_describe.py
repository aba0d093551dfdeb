"""`fdpbench describe`: what is guessed of a folder is tried, printed ready to paste, and written where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fdpbench.bench.plan.described import add_described, check_described
from fdpbench.commands import app
from fdpbench.prep.releases import ReleaseError
from fdpbench.prep.releases.own.describe import describe_folder
from fdpbench.prep.releases.own.tree import best_pattern, places_below
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.plain_yaml import parse_yaml
from fdpbench.prep.settings.problems import ParamsError
from tests.support.builders import params, write_params
from tests.support.own_data import write_image
from tests.support.videos import numbered_frame, write_video

PIXELS = numbered_frame(1)[:16, :16]


def touch(root: Path, *names: str) -> Path:
    """Image files of these names; ``{}`` in one stands for frames 1 to 3."""
    for name in names:
        for number in (1, 2, 3) if "{" in name else (0,):
            path = root / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, PIXELS)
    return root


def pattern(root: Path, *rows: tuple[str, str], video: bool = False) -> tuple[str, int]:
    return best_pattern(root, places_below(root), rows, video)


@pytest.mark.parametrize(
    ("names", "rows", "expected"),
    [
        (["S1/a/img{}.png", "S2/b/img{}.png"], [("S1", "a"), ("S2", "b")], "{subject}/{clip}/*.png"),
        (["sub07/c1/{}.jpg", "sub12/c1/{}.jpg"], [("7", "c1"), ("12", "c1")], "sub{subject:02}/{clip}/*.jpg"),
        (["all/S1_a_{}.png", "all/S1_b_{}.png"], [("S1", "a"), ("S1", "b")], "all/{subject}_{clip}_*.png"),
        (["joy/S1/a/{}.png", "awe/S2/b/{}.png"], [("S1", "a"), ("S2", "b")], "*/{subject}/{clip}/*.png"),
        (["S1/a/img{}.png", "S1/a/depth{}.png"], [("S1", "a")], None),
        (["M\u00fcller/Clip 1/{}.bmp"], [("Mu\u0308ller", "clip 1")], "{subject}/{clip}/*.bmp"),
        (["1/1/{}.png", "1/2/{}.png", "2/1/{}.png"], [("1", "1"), ("1", "2"), ("2", "1")], "{subject}/{clip}/*.png"),
    ],
)
def test_the_pattern_leads_to_most_rows(
    names: list[str], rows: list[tuple[str, str]], expected: str | None, tmp_path: Path
) -> None:
    found, count = pattern(touch(tmp_path, *names), *rows)
    assert count == len(rows)
    if expected is None:  # two series in one folder: the pattern takes one of them
        assert found in ("{subject}/{clip}/img*.png", "{subject}/{clip}/depth*.png")
    else:
        assert found == expected


def test_a_pattern_that_leads_nowhere_is_none(tmp_path: Path) -> None:
    assert pattern(touch(tmp_path, "x/y/{}.png"), ("S1", "a"), ("S2", "b")) == ("", 0)
    assert pattern(touch(tmp_path, "S1/y/{}.png"), ("S1", "a")) == ("", 0), "the clip has to be in it"


def write(root: Path, header: str, *rows: str, name: str = "sheet.csv") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([header, *rows]), encoding="utf-8")
    return root


def test_units_are_known_by_header_by_decimals_or_by_what_fits(tmp_path: Path) -> None:
    def unit(name: str, header: str, row: str, fps: float | None = 100) -> Any:
        root = write(tmp_path / name, f"Subject;Clip;{header};Emotion", f"S1;a;{row};joy")
        return describe_folder(touch(root, "S1/a/{}.png"), fps).settings.get("unit", "frames")

    assert unit("a", "Onset;Apex;Offset", "1;2;3") == "frames"
    assert unit("b", "Onset [ms];Apex [ms];Offset [ms]", "0;10;20") == "milliseconds"
    assert unit("c", "Onset (s);Apex (s);Offset (s)", "0;0;0") == "seconds"
    assert unit("d", "Onset;Apex;Offset", "0,00;0,01;0,02") == "seconds"
    assert unit("e", "Onset;Apex;Offset", "0;10;20") == "milliseconds"
    assert unit("f", "Onset;Apex;Offset", "0;10;20", fps=None) == "frames"
    assert unit("g", "Beginn_ms;Ende_ms;Text", "0;20;x") == "milliseconds"
    with pytest.raises(ReleaseError, match="are seconds: say how many frames a second there are, --fps"):
        unit("h", "Onset;Apex;Offset", "0.5;0.6;0.7", fps=None)


def test_the_sheet_with_most_known_columns_is_taken(tmp_path: Path) -> None:
    root = touch(write(tmp_path, "Clip,Emotion,Subject", "a,joy,S1", name="a.csv"), "S1/a/{}.png")
    write(
        root, "Some words about this lab", ",", "Participant,Video,Start,Peak,End,Label", "S1,a,1,2,3,joy", name="b.csv"
    )
    write(root, "not,a,sheet", "1,2,3", name="c.csv")
    settings = describe_folder(root).settings
    assert settings["sheet"] == "b.csv" and settings["columns"] == {
        "subject": "Participant",
        "clip": "Video",
        "onset": "Start",
        "apex": "Peak",
        "offset": "End",
        "emotion": "Label",
    }


def test_what_cannot_be_guessed_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="no such folder"):
        describe_folder(tmp_path / "gone")
    with pytest.raises(ReleaseError, match="no sheet"):
        describe_folder(touch(tmp_path, "S1/a/{}.png"))
    write(tmp_path, "Who,What,How", "S1,a,joy")
    with pytest.raises(ReleaseError, match="headers: sheet.csv: Who, What, How. Call them Subject"):
        describe_folder(tmp_path)
    write(tmp_path, "Subject,Clip,Emotion", "P9,z,joy")
    with pytest.raises(
        ReleaseError, match=r"no file or folder is named as sheet.csv names its clips \(\('P9', 'z'\)\)"
    ):
        describe_folder(tmp_path)
    with pytest.raises(ReleaseError, match="no images that are numbered and no videos"):
        describe_folder(write(tmp_path / "empty", "Subject,Clip,Emotion", "P9,z,joy"))


def test_videos_and_where_they_count_from(tmp_path: Path) -> None:
    root = write(tmp_path, "Subject,Video,Onset,Apex,Offset,Emotion", "S1,a,1,2,3,joy", "S1,b,1,2,3,awe")
    for name in ("a", "b"):
        write_video(root / f"S1/{name}.mkv", [numbered_frame(k) for k in range(5)], rate=60)
    found = describe_folder(root)
    assert found.settings["video"] == "{subject}/{clip}.mkv" and found.settings["fps"] == 60
    assert "first_frame" not in found.settings and any("count from 1" in line for line in found.found)
    write(tmp_path, "Subject,Video,Onset,Apex,Offset,Emotion", "S1,a,0,2,3,joy", "S1,b,1,2,3,awe")
    assert describe_folder(root).settings["first_frame"] == 0


FLOW, BLOCK = "releases: [synthetic] # mine\n", "# before\nreleases:\n- synthetic\n# after\n"
MAPPING, EMPTY = "releases:\n  synthetic: {}\n\n# after\n", "releases: {}\n"


@pytest.mark.parametrize("text", [FLOW, BLOCK, MAPPING, EMPTY, "releases: {synthetic: {}}\n"])
def test_a_description_is_added_to_params_yaml_as_it_is_written(text: str, project: Path) -> None:
    content = params(runs={}, tasks={})
    del content["releases"]
    file = write_params(content)
    rest = file.read_text()
    file.write_text(text + rest)
    settings: dict[str, Any] = {"kind": "folder", "sheet": "s.csv", "frames": "{subject}/{clip}/*.png"}
    settings |= {"columns": {"subject": "On", "clip": "no", "emotion": "ü: #"}, "faces_may_be_published": False}
    before = read_params()["releases"]
    add_described("lab", settings)
    others = before if isinstance(before, dict) else dict.fromkeys(before, {})
    assert read_params()["releases"] == others | {"lab": settings}
    assert file.read_text().endswith(rest) and ("# after" in file.read_text()) == ("# after" in text)
    with pytest.raises(ParamsError, match="releases has 'lab' already"):
        add_described("lab", settings)


def test_what_is_printed_works_as_it_is(project: Path) -> None:
    write_params(params(releases=["synthetic"]))
    root = touch(
        write(project / "My Lab", "Subject,Clip,Emotion", "S1,a,joy", "S2,b,awe"), "S1/a/{}.png", "S2/b/{}.png"
    )
    done = CliRunner().invoke(app, ["describe", str(root)])
    assert done.exit_code == 0, done.output
    printed = parse_yaml(done.stdout, Path("stdout"))
    assert list(printed["releases"]) == ["synthetic", "My-Lab"] and "fdpbench link My-Lab" in done.stdout
    assert read_params()["releases"] == ["synthetic"], "nothing is written without --add"
    write_params(params(releases=printed["releases"]))
    said = CliRunner().invoke(app, ["link", "My-Lab", str(root)])
    assert said.exit_code == 0 and "2 clips of 2 subjects (awe 1, joy 1)" in said.output
    refused = CliRunner().invoke(app, ["describe", str(root), "--name", "casme2"])
    assert refused.exit_code == 1 and "'casme2' is the name of a release that has a reader" in refused.output
    with pytest.raises(ParamsError, match="releases.lab.kind: missing"):
        check_described("lab", {})
