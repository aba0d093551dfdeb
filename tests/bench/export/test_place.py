"""Where exports may lie: a new folder, whole or not at all; outside projects and repositories if a licence says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from fdpbench.bench.export.place import CLIPS, NOTICE, README
from fdpbench.prep.store import paths
from tests.bench.export.test_export import elsewhere, files_of, invoke, refused
from tests.support.builders import (
    params,
    task_rows,
    write_flow_whole,
    write_image,
    write_params,
    write_perception_data,
    write_task,
)

__all__ = ["elsewhere"]


def licensed(name: str = "tiny") -> None:
    write_task(paths.task(name), published=False)


def test_an_export_of_a_licensed_release_carries_a_notice(project: Path, elsewhere: Path) -> None:
    licensed()
    write_task(paths.task("free"))
    write_perception_data(task_rows())
    for kind in ("flow-images", "frames", "dynamic-images", "lists"):
        assert invoke(kind, "tiny", elsewhere / kind).exit_code == 0
        text = (elsewhere / kind / NOTICE).read_text()
        assert "of the task tiny: made of a licensed release" in text and "Do not\ncommit, upload" in text
        assert "Arithmetic of the data: pinned" in (elsewhere / kind / README).read_text()
    assert invoke("frames", "free", elsewhere / "free").exit_code == 0
    assert not (elsewhere / "free" / NOTICE).exists()


def test_a_licensed_release_is_not_exported_into_a_project_or_repository(project: Path, elsewhere: Path) -> None:
    licensed()
    repository = elsewhere / "repository"
    repository.mkdir()
    subprocess.run(["git", "init", "--quiet", "."], cwd=repository, check=True)
    (repository / "deep").mkdir()
    (elsewhere / "link").symlink_to(repository)
    (project / "out").symlink_to(elsewhere)
    for target, inside in (
        ("exported", project),
        (project / "data/exported", project),
        (repository / "deep/exported", repository),
        (elsewhere / "link/exported", elsewhere / "link"),
        ("out/exported", project),
    ):
        said = refused("frames", "tiny", target)
        assert f"inside {inside}, a " in said, said
        assert "licensed release. Give a folder outside" in said
    assert not (repository / "deep/exported").exists() and not (project / "data/exported").exists()
    write_task(paths.task("free"))
    assert invoke("frames", "free", "exported").exit_code == 0, "what may be published may lie anywhere"


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_release_says_now_counts_where_it_is_stricter(listed: bool, project: Path, elsewhere: Path) -> None:
    """The task was made when faces of the data set might be published; since then somebody withdrew."""
    columns = {"subject": "a", "clip": "b", "emotion": "c"}
    own = {"kind": "folder", "sheet": "sheet.csv", "frames": "{clip}/*.png", "columns": columns}
    tasks = {"tiny": params()["tasks"]["tiny"] | {"releases": ["lab"]}} if listed else {}

    def say(**faces: bool) -> None:
        write_params(params(releases={"synthetic": {}, "lab": own | faces}) | {"tasks": tasks, "runs": {}})

    write_task(paths.task("tiny"), task_rows(("lab/1", "lab/2", "lab/3")), published=True)
    say(faces_may_be_published=True)
    assert invoke("frames", "tiny", "inside").exit_code == 0 and not (project / "inside" / NOTICE).exists()
    say()
    assert "task 'tiny' has a licensed release" in refused("frames", "tiny", "again")
    assert invoke("frames", "tiny", elsewhere / "out").exit_code == 0 and (elsewhere / "out" / NOTICE).is_file()
    write_params(params() | {"tasks": {}, "runs": {}})  # nobody knows the release any more
    assert "task 'tiny' has a licensed release" in refused("frames", "tiny", "again")


def test_a_folder_with_content_is_left_alone_and_an_empty_one_is_filled(project: Path, elsewhere: Path) -> None:
    write_task(paths.task("tiny"))
    write_flow_whole(elsewhere / "full")
    before = files_of(elsewhere / "full")
    assert "there is something already; give a new or an empty folder" in refused("frames", "tiny", elsewhere / "full")
    assert files_of(elsewhere / "full") == before
    write_image(elsewhere / "file", np.zeros((4, 4, 3), np.uint8))
    assert "something already" in refused("frames", "tiny", elsewhere / "file")
    (elsewhere / "empty").mkdir()
    (elsewhere / ".staging-empty").mkdir()
    (elsewhere / ".staging-empty/left").write_text("of a killed export")
    assert invoke("frames", "tiny", elsewhere / "empty").exit_code == 0
    assert (elsewhere / "empty" / CLIPS).is_file() and not (elsewhere / "empty/left").exists()
    assert not (elsewhere / ".staging-empty").exists()
