"""Wheel and source archive of a tree full of licensed images: none of them is inside, nor anything not named.

Nor does git offer one for a commit. Images are searched for as files, as pixels and in base64.
"""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pathspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fdpbench.prep.demo.simulate import simulate
from fdpbench.prep.releases import SIMULATED
from fdpbench.prep.store import shards
from fdpbench.prep.store.images import encode_png
from fdpbench.prep.store.schema import FRAMES
from tests.support.project import Project

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ALLOWED = PYPROJECT["tool"]["hatch"]["build"]["include"]

# Where the pipeline writes: git must not offer a file in any of them.
WRITTEN = (
    "data/raw/casme2/sub01",
    "data/aligned/casme2",
    "data/dynamic/casme2",
    "artifacts/predictions/casme2-fdp",
    ".scratch/align-casme2/unit",
    ".dvc/cache/files/md5/0a",
    ".dvc/tmp/exps",
    "results/report/runs",
    "results/full/report",
    "build/full/data/aligned/casme2",
    "build/full/.dvc/cache/files/md5/0a",
    "preview-do-not-share/casme2",
    "dist",
    ".staging-x",
)
# Where a person may leave one, tracked or not, within reach of a careless pattern.
STRAY = (
    "",
    "bench",
    "bench/report/html/static",
    "models",
    "prep",
    "prep/demo/synth",
    "prep/align/face_models",
    "docs",
    "tests",
    "notes",
)


PACKAGES = ("bench/", "fdpbench/", "models/", "prep/")

# What `fdpbench new` lays a study out of, as the wheel has it.
STUDY = set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].values())


def in_wheel(name: str) -> str:
    """Name of a package's file in the wheel."""
    return name if name.startswith("fdpbench/") else f"fdpbench/{name}"


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def crops(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(3).integers(0, 256, (count, 96, 96), np.uint8))


class Search:
    """Finds images in bytes: the encoded files, rows of their pixels, and both in base64."""

    def __init__(self, images: list[np.ndarray], files: list[bytes]) -> None:
        self.rows = {row.tobytes() for image in images for row in image[::24]}
        payloads = [data[len(data) // 2 :][:48] for data in files] + list(self.rows)
        self.needles = [*payloads, *(code for each in payloads for code in self.coded(each))]

    @staticmethod
    def coded(data: bytes) -> Iterator[bytes]:
        """Base64 at each of its three alignments, without the characters that neighbours change."""
        for shift in range(3):
            yield base64.b64encode(bytes(shift) + data)[4:60]

    def finds(self, content: bytes) -> bool:
        if any(needle in content for needle in self.needles):
            return True
        decoded = None
        if content[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"GIF8") or content[:2] == b"BM":
            decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
        if decoded is not None:
            return any(row.tobytes() in self.rows for row in np.asarray(decoded))
        if content[:4] == b"PAR1":
            table = pq.read_table(io.BytesIO(content))
            pngs = table.column("image").to_pylist() if "image" in table.column_names else []
            return any(self.finds(png) for png in pngs)
        return False


def members(path: Path) -> dict[str, bytes]:
    """Files of a wheel or source archive; a source archive's without its folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        files = [member for member in archive.getmembers() if not member.isdir()]
        assert all(member.isfile() for member in files), "a link"
        return {each.name.split("/", 1)[1]: archive.extractfile(each).read() for each in files}  # type: ignore[union-attr]


def build(folder: Path, out: Path, *options: str) -> dict[str, dict[str, bytes]]:
    """Build as `make build` does; the members of each archive by its suffix."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: members(path) for path in out.iterdir()}


def offered(folder: Path) -> list[Path]:
    """Files that `git add -A` would take."""
    command = ["git", "ls-files", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return [folder / name for name in done.stdout.split("\0") if name]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Search]:
    """A clone after a run with a licensed release, and with images left wherever a person might."""
    folder = tmp_path_factory.mktemp("dirty") / "project"
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    subprocess.run(["git", "init", "--quiet", "."], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    images = crops(4)
    files = [encode_png(image) for image in images]
    rows = [
        {"clip_id": "casme2/1", "subject": "1", "index": k, "source": f"{k}.png", "image": png}
        for k, png in enumerate(files)
    ]
    table = pa.Table.from_pylist([{name: row.get(name) for name in FRAMES.names} for row in rows])
    for place in (*WRITTEN, *STRAY):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "face.png").write_bytes(files[0])
    for place in WRITTEN:
        pq.write_table(table.select(["clip_id", "image"]), folder / place / "frames-1.parquet")
        (folder / place / "report.html").write_bytes(b'<img src="data:image/png;base64,' + base64.b64encode(files[1]))
        np.save(folder / place / "pixels.npy", images[2])
        (folder / place / "0").write_bytes(files[3])  # DVC's cache has no suffixes
    for name in ("params.mine.yaml", "prep/releases/casme2.csv", "results/tables/casme2.csv", "sheet.xlsx"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("licensed\n")
    return folder, Search(images, files)


def test_the_search_finds_what_it_is_to_find(dirty: tuple[Path, Search]) -> None:
    folder, search = dirty
    for place in WRITTEN:
        names = {path.name for path in (folder / place).iterdir() if path.is_file() and search.finds(path.read_bytes())}
        assert names == {"face.png", "frames-1.parquet", "report.html", "pixels.npy", "0"}, place
    assert not any(search.finds((ROOT / name).read_bytes()) for name in ("README.md", "prep/demo/synth/head.npz"))


def test_neither_wheel_nor_source_archive_holds_a_licensed_image(dirty: tuple[Path, Search], tmp_path: Path) -> None:
    folder, search = dirty
    archives = build(folder, tmp_path / "dist", "--sdist", "--wheel")  # the wheel from the tree, not from the archive
    assert set(archives) == {".whl", ".gz"}
    for suffix, content in archives.items():
        assert not [name for name, data in content.items() if search.finds(data)], suffix

    expected = set(pathspec.GitIgnoreSpec.from_lines(ALLOWED).match_files(tracked()))
    assert set(archives[".gz"]) == expected | {"pyproject.toml", ".gitignore", "PKG-INFO"}
    inside = {name for name in archives[".whl"] if ".dist-info/" not in name}
    assert inside == {in_wheel(name) for name in expected if name.startswith(PACKAGES)} | STUDY


def test_all_that_the_packages_track_is_packed(dirty: tuple[Path, Search], tmp_path: Path) -> None:
    """A data file that is added to a package must be added to the list in pyproject.toml, by name."""
    folder, _ = dirty
    archives = build(folder, tmp_path / "dist")
    packages = {name for name in tracked() if name.startswith(PACKAGES)}
    assert {in_wheel(name) for name in packages} - set(archives[".whl"]) == set()
    assert packages - set(archives[".gz"]) == set()


def test_the_source_archive_builds_the_same_wheel(dirty: tuple[Path, Search], tmp_path: Path) -> None:
    folder, _ = dirty
    archive = build(folder, tmp_path / "first", "--sdist")[".gz"]
    for name in ("README.md", "LICENSE", "NOTICE", "constraints.txt", "tests/test_package.py"):
        assert name in archive, name
    for name, data in archive.items():
        target = tmp_path / "unpacked" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    again = build(tmp_path / "unpacked", tmp_path / "second", "--wheel")[".whl"]
    direct = build(folder, tmp_path / "third", "--wheel")[".whl"]
    assert sorted(again) == sorted(direct)
    assert again == direct


def test_git_offers_nothing_that_the_pipeline_wrote(dirty: tuple[Path, Search]) -> None:
    folder, search = dirty
    (folder / ".dvc/.gitignore").unlink()  # `dvc init` wrote it; the root's own list must do
    seen = {path.relative_to(folder).as_posix() for path in offered(folder) if search.finds(path.read_bytes())}
    assert seen == {f"{place}/face.png".lstrip("/") for place in STRAY}


def test_the_build_backend_is_pinned() -> None:
    (backend,) = PYPROJECT["build-system"]["requires"]
    name, _, version = backend.partition("==")
    assert name == "hatchling" and version
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert backend in pins
    names = {pin.partition("==")[0].lower() for pin in pins}
    assert {"packaging", "pathspec", "pluggy", "trove-classifiers"} <= names, "what hatchling itself needs"


@pytest.mark.pipeline
@pytest.mark.timeout(900)
def test_a_run_on_a_licensed_release_leaves_no_image_for_build_or_git(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    (project.code / "params.yaml").write_bytes((project.folder / "params.yaml").read_bytes())
    project.folder = project.code  # the repository is a study itself
    subprocess.run(["git", "init", "--quiet", "."], cwd=project.folder, check=True)
    root = tmp_path / "CASME2"
    simulate("casme2", root, subjects=3, clips=1)
    (root / SIMULATED).unlink()  # so that it counts as a real one
    project.run("git", "add", "-A")
    project.run("fdpbench", "link", "casme2", str(root))
    project.run("dvc", "repro", "align@casme2")
    pngs = [
        row["image"]
        for shard in sorted((project.folder / "data/aligned/casme2").glob("frames-*.parquet"))
        for row in shards.read_table(shard, FRAMES).to_pylist()
    ]
    assert len(pngs) > 20
    images = [np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)) for png in pngs]
    frames = sorted(path for path in root.rglob("*") if path.suffix in {".jpg", ".png", ".bmp"})
    search = Search(images, [*pngs, *(path.read_bytes() for path in frames)])
    cached = [path for path in (project.folder / ".dvc/cache").rglob("*") if path.is_file()]
    assert any(search.finds(path.read_bytes()) for path in cached)
    for suffix, content in build(project.folder, tmp_path / "dist").items():
        assert not [name for name, data in content.items() if search.finds(data)], suffix
    assert not [path for path in offered(project.folder) if search.finds(path.read_bytes())]
