"""What a unit reads is found in its payload, and in what was planned for its stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fdpbench.bench.train.arrays import StoredClips
from fdpbench.prep.runtime.cluster.node_folder import FOLDER, MISSING
from fdpbench.prep.runtime.cluster.reads import Reads, reads_of, reads_of_stage, unsent_files
from fdpbench.prep.runtime.cluster.settings import ClusterError
from fdpbench.prep.settings.planned import Planned

pytestmark = pytest.mark.usefixtures("project")


@dataclass(frozen=True)
class Payload:
    task: Path
    name: str
    more: Any = None


def write(name: str, content: str = "x") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_folders_and_files_of_the_project_are_sent() -> None:
    write("data/task/synthetic/clips.parquet")
    write(".scratch/train/key/units/inputs/s01/flow.npy")
    write("weights/a.safetensors")
    stored = StoredClips(Path("data/task/synthetic"), {"s01": Path(".scratch/train/key/units/inputs/s01")})
    payload = (Payload(Path("data/task/synthetic"), "f", {"w": [Path("weights/a.safetensors")]}), stored, stored)
    sent = ("data/task/synthetic", "weights/a.safetensors", ".scratch/train/key/units/inputs/s01")
    assert sorted(reads_of(payload).sent) == sorted(sent) and len(reads_of(payload).sent) == 3


def test_a_fold_is_sent_its_own_subjects_alone() -> None:
    for subject in ("s01", "s02"):
        write(f"inputs/{subject}/flow.npy")
    stored = StoredClips(Path("data/task/none"), {name: Path("inputs") / name for name in ("s01", "s02")})
    assert reads_of((stored.of(["s02"]),)).sent == ("inputs/s02",)


def test_texts_numbers_and_what_is_not_there_are_not_sent() -> None:
    write("data/file")
    assert reads_of(("data/file", 3, None, 1.5, Path("data/none"), len, Payload)) == Reads()


def test_cycles_and_classes_do_no_harm() -> None:
    cycle: list[Any] = [Path]
    cycle.append(cycle)
    assert reads_of(cycle) == Reads()


def test_raw_frames_are_linked_and_looked_for(tmp_path: Path) -> None:
    real = tmp_path / "elsewhere/casme2"
    write(str(real / "sub01/img1.jpg"), "12345")
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/casme2").symlink_to(real)
    row = {"clip_id": "casme2/sub01/EP02", "frames": ["sub01/img1.jpg", "sub01/img2.jpg"], "frame_numbers": [1, 2]}
    found = reads_of((row, "casme2", Path("data/raw/casme2"), None))
    assert found.sent == () and found.linked == (("data/raw/casme2", str(real)),)
    assert dict(found.looked_for) == {
        "data/raw/casme2": FOLDER,
        "data/raw/casme2/sub01/img1.jpg": 5,
        "data/raw/casme2/sub01/img2.jpg": MISSING,  # so it is on this machine, and must be on every node
    }


def test_frames_of_videos_are_looked_for_where_they_were_extracted() -> None:
    video = write("data/raw/samm/s1/smile.avi", "video")
    Path("data/frames/samm/units").mkdir(parents=True)
    row = {"frames": ["s1/smile.avi#0"]}
    found = reads_of((row, "samm", Path("data/raw/samm")))
    folders = ("data/raw/samm", "data/frames/samm")
    assert found.linked == tuple((name, str(Path(name).absolute())) for name in folders)
    (frame,) = (name for name, size in found.looked_for if size == MISSING)
    assert frame.startswith("data/frames/samm/units/s1%2Fsmile%2Eavi%40") and frame.endswith("/000000.png")
    assert dict(reads_of((video, frozenset({0}))).looked_for) == {"data/raw/samm/s1/smile.avi": 5}


def test_an_absolute_path_must_be_the_same_everywhere(tmp_path: Path) -> None:
    path = write(str(tmp_path / "other/file"), "abc")
    assert reads_of([path]) == Reads(looked_for=((str(path), 3),))


def test_a_path_out_of_the_project_is_refused() -> None:
    write("../outside")
    with pytest.raises(ClusterError, match=r"\.\./outside: lies outside the project"):
        reads_of([Path("../outside")])


def test_weights_and_a_models_file_are_sent_and_the_packages_own_are_compared() -> None:
    for name in ("my_net.py", "weights/w.safetensors", "artifacts/pretrained/r/0.safetensors"):
        write(name)
    planned = Planned(
        {"start": ["artifacts/pretrained/r/0.safetensors"], "entry": {"model": "my_net.py:Net"}},
        code={"prep/store/shards.py": "1", "my_net.py": "2", "acme_faces/net.py": "3"},
        files={"weights/w.safetensors": "4", "models/weights/rendered_fdp.safetensors": "5"},
    )
    assert set(reads_of_stage(planned)) == {
        "my_net.py",
        "weights/w.safetensors",
        "artifacts/pretrained/r/0.safetensors",
    }
    assert unsent_files(planned) == (
        "prep/store/shards.py",
        "acme_faces/net.py",
        "models/weights/rendered_fdp.safetensors",
    )


def test_a_model_by_its_file_is_sent_even_where_it_lies_among_ours() -> None:
    """A clone is a study too: `model: models/fdp.py:FDP` is read by its path."""
    write("models/fdp.py")
    planned = Planned({"entry": {"model": "models/fdp.py:FDP"}}, code={"models/fdp.py": "1"})
    assert reads_of_stage(planned) == ("models/fdp.py",) and unsent_files(planned) == ("models/fdp.py",)
