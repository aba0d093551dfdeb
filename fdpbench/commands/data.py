"""From folders and annotation sheets to the tasks that training reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.commands.stages import run_stage
from fdpbench.prep.releases import RELEASES
from fdpbench.prep.runtime.command import Jobs, command
from fdpbench.prep.runtime.progress import output
from fdpbench.prep.settings.params import PARAMS_FILE, read_params
from fdpbench.prep.store import paths

ReleaseName = Annotated[str, typer.Argument(help="Name of a release, such as casme2; `fdpbench releases` lists them.")]
CorpusName = Annotated[str, typer.Argument(help="Name of a corpus under `corpora` in params.yaml.")]
TaskName = Annotated[str, typer.Argument(help="Name of a task in params.yaml, such as synthetic.")]


def _declare() -> None:
    """Make the data sets known that params.yaml describes, if there is one here."""
    if PARAMS_FILE.is_file():
        read_params()


@app.command(rich_help_panel="Prepare data")
def releases() -> None:
    """List the releases that can be read, and what is linked."""
    with command("releases"):
        _declare()
        for release in RELEASES.values():
            place = paths.raw(release.name)
            state = f"at {place}" if place.exists() else "not linked"
            output.print(f"[bold]{release.name}[/] ({release.kind}, {state}): {release.about}.")
            output.print(f"    Expects {release.expects}.")


@app.command(rich_help_panel="Prepare data")
def link(
    release: ReleaseName,
    folder: Annotated[Path, typer.Argument(help="The release's folder on this machine.")],
    study: Annotated[
        str | None,
        typer.Option(help="Write params.STUDY.yaml, for `make study NAME=STUDY`, and leave params.yaml as it is."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class map of the task; by default the release's first. The output names all.")
    ] = None,
    runs: Annotated[str, typer.Option(help="Models with commas between them: adds a run of each on the task.")] = "",
) -> None:
    """Point the project at a release that you hold a licence for.

    Reads the folder first, so that a wrong path is found at once; then links data/raw/RELEASE to it
    (git-ignored) and names the release, a task and runs of it in params.yaml, or in the file of a study. Example:

        fdpbench link casme2 ~/datasets/CASME2 --study mine --runs majority,ststnet,fdp
    """
    from fdpbench.bench.plan.link import link_release

    with command("link"):
        models = [name.strip() for name in runs.split(",") if name.strip()]
        link_release(release, folder, study=study, classes=classes, models=models)


@app.command(rich_help_panel="Prepare data")
def describe(
    folder: Annotated[Path, typer.Argument(help="A folder that holds a sheet, and frames or videos of its clips.")],
    name: Annotated[str | None, typer.Option(help="What to call the data set; by default after the folder.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second, where they are known.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Write it into params.yaml here, as well as print it.")] = False,
) -> None:
    """Guess how params.yaml describes a data set of your own, and print it ready to paste.

    Columns are guessed by their names, the pattern of files by trying which one leads from most rows of the sheet to
    files. What was found is printed as comments. Nothing is written without --add. Example:

        fdpbench describe ~/data/mylab --name mylab --fps 120 --add
    """
    from fdpbench.bench.plan.described import add_described, check_described, releases_with
    from fdpbench.prep.releases.own.describe import describe_folder

    with command("describe"):
        _declare()
        root = folder.expanduser().resolve()
        name = name or re.sub(r"[^A-Za-z0-9_-]+", "-", root.name).strip("-_") or "mine"
        found = describe_folder(root, fps)
        for line in found.found:
            output.print(f"# {line}", markup=False)
        check_described(name, found.settings)
        output.out(releases_with(name, found.settings), end="", highlight=False)
        if add:
            add_described(name, found.settings)
            output.print("# written into params.yaml", markup=False)
        then = "" if add else "put this in place of section `releases` of params.yaml, then: "
        output.print(f"# Next: {then}fdpbench link {name} {folder}", markup=False)


@app.command("annotations", rich_help_panel="Prepare data")
def annotations_command(
    release: ReleaseName,
    sheet: Annotated[Path, typer.Argument(help="Its annotation sheet (.xlsx, .xls or .csv).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for machines.")] = False,
) -> None:
    """Read an annotation sheet alone, without frames: the first thing to try with a release.

    Shows clips, subjects, clips of each class for each class map of the literature, known faults of the
    sheet that were corrected, how the counts differ from those known of the release, and every row that
    cannot be used with the reason why. Example:

        fdpbench annotations casme2 ~/datasets/CASME2/CASME2-coding-20140508.xlsx
    """
    from fdpbench.prep.index.sheet_report import report_lines, report_of_sheet
    from fdpbench.prep.releases import read_annotations

    with command("annotations"):
        _declare()
        report = report_of_sheet(read_annotations(release, sheet))
        if as_json:
            print(json.dumps(report, indent=2, ensure_ascii=False))
            return
        for line in report_lines(report, most=None):
            output.print(line, markup=False)


@app.command(rich_help_panel="Prepare data")
def simulate(
    release: ReleaseName,
    folder: Annotated[Path, typer.Argument(help="The folder to write: a new one, or an empty one.")],
    version: Annotated[
        str | None, typer.Option(help="Version of the layout; the message names those that the release has.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=1, help="Number of subjects.")] = 3,
    clips: Annotated[int, typer.Option(min=1, help="Number of clips of each subject.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every face and number; one seed gives one release.")] = 0,
    emotions: Annotated[
        str, typer.Option(help="Words for emotions, with commas, in place of those that the release is known to use.")
    ] = "",
) -> None:
    """Write invented clips in the form of a release, to try the pipeline before its licence arrives.

    FOLDER gets the folders, file names and annotation sheet of the real release, their quirks among them,
    with rendered faces and invented names, numbers and labels. Scores on it say nothing. Example:

        fdpbench simulate casme2 ~/simulated/CASME2
        fdpbench link casme2 ~/simulated/CASME2
    """
    from fdpbench.prep.demo.simulate import VERSIONS
    from fdpbench.prep.demo.simulate import simulate as run

    with command("simulate"):
        written = run(release, folder, version, subjects, clips, seed, emotions.split(",") if emotions else ())
        version = version or VERSIONS[release][0]
        output.print(
            f"{folder}: {len(written.clips)} invented clips in the form of {release}, version {version} "
            f"(versions: {', '.join(VERSIONS[release])}); sheet {written.sheet.name}",
            markup=False,
        )
        output.print(f"Next: fdpbench link {release} {folder}", markup=False)


@app.command(rich_help_panel="Prepare data")
def synthesize(jobs: Jobs = None) -> None:
    """Render the embedded release into data/raw/synthetic (section `synth` of params.yaml)."""
    run_stage("synthesize", jobs=jobs)


@app.command(rich_help_panel="Prepare data")
def corpus(name: CorpusName, jobs: Jobs = None) -> None:
    """Generate rendered clips to pretrain on into data/corpus/NAME (section `corpora` of params.yaml).

    Generator flow: onset-to-apex flow images. Generator frames: sampled frames, dynamic image, flow and apex frame,
    with landmarks if asked for. Of each clip of both: class, emotion, action units with their intensities, marks,
    peak. Nobody in them is in any release.
    """
    run_stage("corpus", name, jobs=jobs)


@app.command(rich_help_panel="Prepare data")
def gap(name: CorpusName, task: TaskName) -> None:
    """Say in numbers how far the flow images of a corpus are from those of a task, data set by data set.

    Labels are not looked at, and no image is kept or drawn. Both must have been made: `dvc repro`. Example:

        fdpbench gap flow megc2019
    """
    from fdpbench.prep.demo.corpus.gap import compare, gap_tables

    with command("gap"):
        for table in gap_tables(*compare(paths.corpus(name), paths.task(task))):
            output.out(table + "\n", highlight=False)


@app.command(rich_help_panel="Prepare data")
def index(release: ReleaseName) -> None:
    """Read a release's annotation sheet and folders into data/manifest/RELEASE.

    Rows that cannot be used are listed in rejected.parquet there, each with a reason (section `index` of params.yaml).
    """
    run_stage("index", release)


@app.command(rich_help_panel="Prepare data")
def align(release: ReleaseName, jobs: Jobs = None) -> None:
    """Find faces, align each clip (section `align` of params.yaml), write Parquet shards to data/aligned/RELEASE.

    Of a release of flow images nothing is aligned: its files have no rows.
    """
    run_stage("align", release, jobs=jobs)


@app.command(rich_help_panel="Prepare data")
def flow(release: ReleaseName) -> None:
    """Compute onset-to-apex optical flow and strain into data/flow/RELEASE (section `flow` of params.yaml).

    From aligned frames, or taken from the release's flow images. Clips without flow are listed in rejected.parquet
    there, each with a reason.
    """
    run_stage("flow", release)


@app.command(rich_help_panel="Prepare data")
def preview(
    release: ReleaseName,
    clips: Annotated[int, typer.Option(min=1, help="How many clips, spread over the subjects.")] = 12,
    everything: Annotated[bool, typer.Option("--all", help="All clips of the release.")] = False,
    clip: Annotated[list[str] | None, typer.Option("--clip", help="A clip's id; may be given again.")] = None,
) -> None:
    """Draw aligned frames, landmarks, flow and dynamic images of clips, to look at on this machine only.

    Writes a strip for each clip, and a page of them, into preview-do-not-share/RELEASE, which git and DVC ignore: the
    licences of most releases forbid to show their faces. Needs `align` to have run; flow and dynamic images are
    shown where they are there.
    """
    from fdpbench.bench.plan.params import load_tasks
    from fdpbench.prep.preview.page import preview_release

    with command("preview"):
        out = preview_release(release, load_tasks(), None if everything else clips, clip or [])
        output.print(f"{out / 'index.html'}: for your eyes only, do not share", markup=False)


@app.command(rich_help_panel="Prepare data")
def dynamic(task: TaskName) -> None:
    """Sample a task's frames and draw their ground-truth dynamic images into data/dynamic/TASK."""
    run_stage("dynamic", task)


@app.command("task", rich_help_panel="Prepare data")
def task_command(task: TaskName) -> None:
    """Gather labels and inputs of a task's clips into data/task/TASK, which training reads."""
    run_stage("task", task)
