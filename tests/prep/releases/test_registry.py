"""Releases by name: found without an import, each read by its own module alone, and from other distributions too."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fdpbench.prep.releases
from fdpbench.bench.plan.closure import closure
from fdpbench.bench.plan.stages import STAGES
from fdpbench.prep.index.class_maps import all_class_maps, maps_of
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import RELEASES, Release, ReleaseError, read_annotations, reader_module, release_info
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import MANIFEST
from tests.support.builders import write_synthetic
from tests.support.distributions import Distribution

ROOT = Path(__file__).resolve().parents[3]
FILES = {name: f"prep/releases/{name}.py" for name in RELEASES}
PARTS = {"megc2019": {"casme2", "samm", "smic_hs"}}  # releases that a composite reads


def test_a_release_is_a_file_of_its_name() -> None:
    assert {path.stem for path in (ROOT / "prep/releases").glob("[!_]*.py")} == set(RELEASES)
    for name, release in RELEASES.items():
        assert release.name == name and reader_module(name) == f"fdpbench.prep.releases.{name}"
    assert {name for name, release in RELEASES.items() if release.faces_may_be_published} == {"synthetic"}


def test_each_release_has_its_line_in_the_docs() -> None:
    lines = (ROOT / "docs/releases.md").read_text(encoding="utf-8").splitlines()
    table = itertools.takewhile(lambda line: line.startswith("|"), lines[lines.index("|---|---|---|---|---|") + 1 :])
    listed = [name for line in table for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted([*listed, "synthetic"]) == list(RELEASES)


@pytest.mark.parametrize("name", ["synthetic", "smic_vis", "megc2019"])
def test_to_know_a_release_imports_its_module_alone(name: str) -> None:
    script = (
        "import sys\nfrom fdpbench.prep.index import class_maps, stage\nfrom fdpbench.prep.releases import *\n"
        "loaded = lambda: sorted(set(RELEASES) & {m.rpartition('.')[2] for m in sys.modules if '.releases.' in m})\n"
        f"assert {name!r} in RELEASES and len(list(RELEASES)) > 10 and reader_module({name!r})\nprint(*loaded())\n"
        f"release_info({name!r}), class_maps.maps_of({name!r}), class_maps.known_emotions({name!r})\n"
        f"try:\n    read_annotations({name!r}, Path('nowhere'))\nexcept ReleaseError:\n    print(*loaded())"
    ).replace("import sys\n", "import sys\nfrom pathlib import Path\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", " ".join(sorted({name} | PARTS.get(name, set())))]


@pytest.mark.parametrize("stage", ["index", "align", "flow", "dynamic", "task", "train"])
def test_no_stage_depends_on_all_readers(stage: str) -> None:
    found = set(closure(STAGES[stage]).files)
    assert not found & set(FILES.values())
    if stage != "index":  # and none but `index` on how sheets are read and what is reported of them
        assert not [file for file in found if file.startswith(("prep/sheets/", "prep/releases/common/"))]
        assert not found & {"prep/index/stage.py", "prep/index/sheet_report.py", "prep/index/counts.py"}


@pytest.mark.parametrize("name", list(RELEASES))
def test_an_edit_of_a_reader_indexes_its_release_alone(name: str) -> None:
    found = set(closure(STAGES["index"], reader_module(name)).files)
    assert found & set(FILES.values()) == {FILES[other] for other in {name} | PARTS.get(name, set())}
    assert {"prep/releases/common/base.py", "prep/sheets/tables.py"} <= found
    assert ("prep/releases/common/smic.py" in found) == (name.startswith("smic") or name == "megc2019")


# --- releases of other distributions

Install = Callable[[str, str, str], None]

READER = """
from fdpbench.prep.releases import Release, one_each, synthetic
from fdpbench.prep.releases.common.base import Listing

RELEASE = Release(
    name="acme_me", kind="frames", about="ACME", expects="annotations.csv and frames/",
    class_maps={"acme_2": one_each("joy", "awe")},
)


def annotations_of(sheet):
    found = synthetic.annotations_of(sheet)
    found.release = found.dataset = "acme"
    return found


def read(root, lost_frames):
    listing = Listing("acme")
    for clip in synthetic.read(root, lost_frames).clips:
        _, subject, name = clip["clip_id"].split("/")
        marks = {mark: clip[mark] for mark in ("fps", "onset", "apex", "offset", "frame_numbers")}
        listing.add(subject, name, emotion=clip["emotion"], frames=clip["frames"], **marks)
    return listing
"""


@pytest.fixture
def install(distribution: Distribution) -> Iterator[Install]:
    """Install a module that reads a release."""

    def write(release: str, module: str, content: str) -> None:
        distribution("fdpbench.releases", release, module, content)
        fdpbench.prep.releases._modules.cache_clear()

    yield write
    fdpbench.prep.releases._modules.cache_clear()


def test_a_release_of_another_distribution_is_read_like_any_other(install: Install, project: Path) -> None:
    install("acme_me", "acme_reader", READER)
    assert "acme_me" in RELEASES and reader_module("acme_me") == "acme_reader"
    assert "acme_reader" not in sys.modules, "to list it does not import it"
    assert release_info("acme_me").about == "ACME"
    assert [found.name for found in maps_of("acme_me")] == ["acme_2"] and "acme_2" in all_class_maps()
    write_synthetic(project / "r", [("s01", "a", 2, 4, 7, "AU12", "joy"), ("s02", "b", 1, 4, 8, "", "awe")])
    index_release("acme_me", project / "r", paths.manifest("acme_me"))
    manifest = shards.read_table(paths.manifest("acme_me") / "manifest.parquet", MANIFEST).to_pylist()
    assert [row["clip_id"] for row in manifest] == ["acme/s01/a", "acme/s02/b"]
    assert read_annotations("acme_me", project / "r/annotations.csv").clips[0].emotion == "joy"


def test_two_modules_of_one_name_are_refused(install: Install) -> None:
    install("casme2", "acme_other", READER)
    for look in (lambda: "casme2" in RELEASES, lambda: release_info("samm"), lambda: list(RELEASES)):
        with pytest.raises(ReleaseError, match="'casme2': fdpbench.prep.releases.casme2 and acme_other") as caught:
            look()
        assert "uninstall" in str(caught.value)


def test_two_other_distributions_of_one_name_are_refused(install: Install) -> None:
    install("acme_me", "acme_one", READER)
    install("acme_me", "acme_two", READER)
    with pytest.raises(ReleaseError, match="(acme_one and acme_two|acme_two and acme_one)"):
        release_info("acme_me")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "must hold RELEASE = Release"),
        (READER.replace('name="acme_me"', 'name="acme"'), "must hold RELEASE = Release(name='acme_me'"),
        (READER.replace("def read(", "def read_it("), "and read(root, lost_frames)"),
        ("import acme_that_is_not_there", "acme_broken cannot be imported (No module named 'acme_that_is_not_there')"),
    ],
)
def test_a_module_that_is_no_reader(install: Install, content: str, expected: str) -> None:
    install("acme_me", "acme_broken", content)
    assert "acme_me" in RELEASES and release_info("samm").name == "samm"
    with pytest.raises(ReleaseError) as caught:
        release_info("acme_me")
    assert expected in str(caught.value) and "acme_broken" in str(caught.value)


def test_class_maps_of_one_name_are_one(install: Install) -> None:
    """Two releases may share a class map; under one name they must mean one."""
    install("acme_me", "acme_maps", READER.replace("acme_2", "casme2_5"))
    with pytest.raises(ReleaseError, match="'acme_me' and 'casme2' declare different class maps 'casme2_5'"):
        all_class_maps()
    assert len({str(maps_of(name)) for name in ("megc2019", "megc2019_flow")}) == 1


def test_the_nearest_name_is_proposed() -> None:
    with pytest.raises(ReleaseError, match=r"unknown release 'casme_2' \(did you mean 'casme2'\?\); known releases: "):
        release_info("casme_2")


def test_releases_behave_like_a_mapping() -> None:
    assert "casme2" in RELEASES and "casme9" not in RELEASES and len(RELEASES) == len(list(RELEASES))
    assert isinstance(RELEASES["casme2"], Release) and RELEASES.get("casme9") is None
    assert list(RELEASES) == sorted(RELEASES)
