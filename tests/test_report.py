"""mlpkit report: one HTML file that needs no network, of runs and sweeps in any state."""

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import show_file
from conftest import FAILED, SWEEP, Refused
from PIL import Image
from running import train
from tables import customers, write_csv

from mlpkit.analysis.run_facts import read_run
from mlpkit.cli.main import run as command
from mlpkit.config.changed import changed_settings
from mlpkit.folders.clean import foreign_content
from mlpkit.folders.results import read_config
from mlpkit.folders.run_folder import RunFolder
from mlpkit.plots.report_charts import Curve, run_charts, thinned
from mlpkit.plots.report_html import POLICY, tag
from mlpkit.plots.report_run import run_report
from mlpkit.system.lock import locked

OLDER = Path(__file__).with_name("format-3.safetensors")
SHORT = ("trainer.epochs=3", "run.plots=false", "run.loggers=[]")


@dataclass
class Page(HTMLParser):
    """A page: its text, its elements by name with their attributes, its headings, and the charts' data."""

    html: str
    text: str = ""
    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._inside = ""
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if (tag, *attrs) != ("script", ("type", "application/json")) else "chart"

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "chart":
            self.charts.append(json.loads(data))
        elif self._inside not in ("script", "style"):
            self.text += data
        if self._inside == "h2":
            self.headings.append(data)


def of_run(path: Path) -> Page:
    return Page(run_report(path).decode())


@pytest.mark.parametrize("name", ["line", "moons", "digits"])
def test_a_run_of_each_kind(name: str, trained: dict[str, Path]) -> None:
    page = of_run(trained[name])
    found = [
        heading for heading in page.headings if heading not in ("Warnings", "What the curves say")
    ]  # line's 2 epochs are too few
    assert found == ["Scores", "Curves", "Data", "Settings", "Commands", "Environment"]
    summary = json.loads(RunFolder(trained[name]).summary.read_text())
    best, final = summary["best"], summary["final"]
    score = best["score"]
    for split in ("train", "val", "test"):
        assert f"{best[split][score]:.4f}" in page.text
    low, high = final["intervals"][score]
    assert f"{score} {low:.4f}–{high:.4f}" in page.text or name == "line"  # whose R² may be tiny
    assert f"{final['baseline']['name']} on test" in page.text
    loss = {"line": "mean squared error on a linear output", "moons": "binary cross-entropy on a sigmoid"}
    assert f"The loss is {loss.get(name, 'cross-entropy on a softmax')}; the optimizer is " in page.text
    assert [chart["title"] for chart in page.charts][:1] == ["loss"]
    assert f"{RunFolder(trained[name]).config}" in page.text
    assert "://" not in page.html


@pytest.mark.long
def test_it_loads_nothing_and_can_be_read_by_all(trained: dict[str, Path]) -> None:
    """No address, a policy, a language, one h1, and a text for each picture."""
    run = train(trained["moons"].parent, "dataset=moons", "trainer.epochs=2", "run.loggers=[]").path
    page = of_run(run)
    sources = [about["src"] or "" for name, about in page.elements if name == "img"]
    assert len(sources) == 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert all(about.get("alt") for name, about in page.elements if name == "img")
    assert "://" not in re.sub(r"base64,[^\"]*", "", page.html)
    assert [name for name, _ in page.elements].count("h1") == 1
    assert ("html", {"lang": "en"}) in page.elements
    assert POLICY in [about.get("content") for name, about in page.elements if name == "meta"]
    anchors = {about["href"] for name, about in page.elements if name == "a"}
    assert anchors == {f"#{about['id']}" for name, about in page.elements if name == "section"}


EVIL = "<script>alert(1)</script>"


def test_a_calibrated_run_is_not_said_to_be_uncalibrated(trained: dict[str, Path], tmp_path: Path) -> None:
    run, said = tmp_path / "run", "nothing has calibrated them"
    shutil.copytree(trained["moons"], run)
    assert said in of_run(run).text
    assert command(["calibrate", str(run)]) == 0
    assert said not in of_run(run).text


def test_names_are_text_whatever_they_are_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {
            f"age{EVIL}": row["calls"],
            "city": f"</script>{row['city']}'\"",
            "y": f"<img src=x> & {row['churned']}",
        }
        for row in customers(60)
    ]
    path = write_csv(tmp_path / "t<b>.csv", rows)
    folder = tmp_path / "<i>run"
    run = train(
        tmp_path, "dataset=table", f"dataset.path='{path}'", "dataset.target=y", f"run.dir='{folder}'", *SHORT
    ).path
    assert command(["note", str(run), f'{EVIL} & "quoted"']) == 0
    RunFolder(run).command.write_text(f"mlpkit train {EVIL}\n\x1b[31mred\n")
    with RunFolder(run).log.open("a") as log:
        log.write(f"warning: {EVIL}\n")
    page = of_run(run)
    names = {name for name, _ in page.elements}
    assert not names & {"b", "i", "img"}
    plain = [about for name, about in page.elements if name == "script" and "type" not in about]
    assert len(plain) == 1
    for text in (f"age{EVIL}", "</script>", "<img src=x> & yes", "t<b>.csv", f'{EVIL} & "quoted"'):
        assert text in page.text
    assert "\x1b" not in page.html


def test_a_tag_escapes_children_and_attributes() -> None:
    assert tag("p", "<b>", tag("i", "&"), title='"', hidden=True) == (
        '<p title="&quot;" hidden>&lt;b&gt;<i>&amp;</i>\n</p>\n'
    )


def test_a_failed_run_says_why(outputs: Path) -> None:
    page = of_run(FAILED)
    assert "The run failed: step " in page.text and "try a lower optimizer.lr" in page.text
    assert "mlpkit resume" not in page.text


def test_interrupted_running_and_killed_runs(trained: dict[str, Path], tmp_path: Path) -> None:
    """Their scores are those of the newest checkpoint."""
    run = RunFolder(Path(shutil.copytree(trained["moons"], tmp_path / "run")))
    run.summary.write_text('{"status": "interrupted", "error": "interrupted after epoch 2; saved"}')
    page = of_run(run.path)
    assert "The run was interrupted after epoch 2; saved" in page.text
    assert "mlpkit resume " in page.text and "Best weights, of epoch" in page.text
    run.summary.unlink()
    assert "its process was killed" in of_run(run.path).text
    with locked(run.lock):
        assert "still training" in of_run(run.path).text


def test_an_older_format_and_a_damaged_folder(tmp_path: Path) -> None:
    """What is missing is left out; what is damaged is named."""
    folder = RunFolder(tmp_path / "old")
    folder.last.parent.mkdir(parents=True)
    shutil.copy(OLDER, folder.last)
    folder.config.write_text("format: 3\n")
    page = of_run(folder.path)
    assert "Last weights, of epoch" in page.text or "Best weights, of epoch" in page.text
    folder.metrics.write_text("garbage\n")
    folder.summary.write_text("[]")
    folder.plots.mkdir()
    (folder.plots / "fit.png").write_text("no picture")
    page = of_run(folder.path)
    assert "no curves: " in page.text and "summary.json cannot be read" in page.text
    assert "img" not in {name for name, _ in page.elements}


def test_links_in_a_foreign_folder_are_not_followed(trained: dict[str, Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    run = RunFolder(Path(shutil.copytree(trained["moons"], tmp_path / "run")))
    run.plots.mkdir()
    (run.plots / "fit.png").symlink_to(secret)
    run.command.unlink()
    run.command.symlink_to(secret)
    page = of_run(run.path)
    assert "img" not in {name for name, _ in page.elements} and "It was trained by" not in page.text
    run.report.symlink_to(tmp_path / "elsewhere.html")
    assert command(["report", str(run.path)]) == 65
    assert not (tmp_path / "elsewhere.html").exists()


@pytest.mark.long
def test_many_epochs_and_large_pictures_stay_under_2_mb(trained: dict[str, Path], tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(trained["moons"], tmp_path / "run")))
    line = '{{"epoch": {}, "step": 1, "split": "{}", "loss": {}, "lr": {}, "seconds": 1.0}}\n'
    with run.metrics.open("w") as file:
        for epoch in range(1, 100_001):
            loss = 5.0 if epoch == 77_700 else 1 / epoch
            file.write("".join(line.format(epoch, split, loss, 1 / epoch) for split in ("train", "val")))
    run.plots.mkdir()
    for name in ("a", "b"):
        Image.frombytes("RGB", (500, 500), os.urandom(750_000)).save(run.plots / f"{name}.png")
    page = of_run(run.path)
    assert len(page.html) < 2_000_000
    assert "Too large for a report, see plots/: b" in page.text
    assert re.search(r"[0-9]{3} of 99,999 epochs are drawn", page.text)
    curve = page.charts[0]["curves"][0]
    assert len(curve["x"]) <= 800


def test_gradient_norms_by_layer_share_a_chart() -> None:
    """They are in metrics.jsonl with run.histograms, on the lines of each split."""
    norms = {"grad_norm": 0.5, "grad_norm_layers_0": 0.3, "grad_norm_layers_2": 0.4}
    lines = [
        {"epoch": epoch, "step": epoch, "split": split, "loss": 1 / epoch, "seconds": 0.1, "lr": 0.1}
        | (norms if epoch % 2 == 0 else {"grad_norm": 0.5})
        for epoch in range(1, 5)
        for split in ("train", "val")
    ]
    charts = run_charts(lines, None)
    assert [chart.title for chart in charts] == ["loss", "gradient norm by layer"]
    assert [(curve.name, list(curve.epochs)) for curve in charts[1].curves] == [
        ("layers_0", [2, 4]),
        ("layers_2", [2, 4]),
    ]


def test_a_thinned_curve_keeps_ends_and_extremes() -> None:
    values = [1.0] * 10_000
    values[1234], values[5678] = -5.0, 9.0
    curve = thinned(Curve("train", "train", range(1, 10_001), values), 100)
    assert len(curve.epochs) <= 100
    assert (curve.epochs[0], curve.epochs[-1]) == (1, 10_000)
    assert {1235, 5679} <= set(curve.epochs) and {-5.0, 9.0} <= set(curve.values)
    gaps = thinned(Curve("train", "train", range(1, 10_001), [None] * 10_000), 100)
    assert set(gaps.values) == {None}


def test_settings_that_differ_are_those_that_were_chosen(trained: dict[str, Path]) -> None:
    found = {
        each.key: (each.value, each.default) for each in changed_settings(read_run(trained["digits"]).config)
    }
    assert found["dataset.name"] == ("digits", "moons")
    assert found["model.name"] == ("logistic", "mlp")
    assert found["trainer.epochs"] == (2, 1000)
    assert not [
        key for key in found if key.startswith(("run.", "optimizer.", "scheduler.", "init.", "loss."))
    ]
    assert changed_settings(read_config(RunFolder(trained["moons"])))[1].value == "mlp"


def test_a_sweep(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one whose failed run's folder is gone: the ledger knows why it failed."""
    shutil.rmtree(next(SWEEP.glob("0003-*")))
    assert command(["report", str(SWEEP)]) == 0
    assert capsys.readouterr().out == f"{SWEEP / 'report.html'}\n"
    page = Page((SWEEP / "report.html").read_text(encoding="utf-8"))
    assert page.headings[:2] == ["Leaderboard", "Curves"]
    assert "2 of 4 runs failed or are not done" in page.text
    assert page.text.count("training diverged") == 1  # both for the same reason
    assert "(0002-" in page.text and ", 0003-" in page.text
    assert [chart["title"] for chart in page.charts] == ["val accuracy", "val loss"]
    (band,) = page.charts[0]["curves"]
    assert len(band["low"]) == len(band["y"]) == 3
    assert f"mlpkit resume {SWEEP}" in page.text and "--ensemble" in page.text
    assert "sortable" in [about.get("class") for name, about in page.elements if name == "table"]


def test_a_sweep_of_failed_runs(outputs: Path) -> None:
    for run in (*SWEEP.glob("0000-*"), *SWEEP.glob("0001-*")):
        shutil.rmtree(run)
    assert command(["report", str(SWEEP)]) == 0
    page = Page((SWEEP / "report.html").read_text(encoding="utf-8"))
    assert "What failed" in page.headings and "Leaderboard" not in page.headings
    assert "none of 2 runs has a score" in page.text


def test_where_it_is_written(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default into the newest run or sweep, whose folder is still one that clean may remove."""
    assert command(["report"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{SWEEP / 'report.html'}\n" and said.err == f"newest sweep: {SWEEP}\n"
    assert command(["report", str(FAILED), "--output", "x.html"]) == 0
    assert command(["report", str(FAILED), "--output", str(FAILED / "report.html")]) == 0
    assert capsys.readouterr().out == f"x.html\n{FAILED / 'report.html'}\n"
    assert foreign_content(RunFolder(FAILED)) == ""


def test_what_is_refused(trained: dict[str, Path], refused: Refused) -> None:
    run = str(trained["moons"])
    assert "the ending must be one of .html" in refused("report", run, "--output", "x.pdf", code=2)
    assert "no such run folder" in refused("report", "nothing", code=65)
    assert "no trained run under outputs/" in refused("report", code=65)


MOVE = """<script>
const plot = document.querySelector(".plot"), box = plot.getBoundingClientRect();
const at = (kind, share) => plot.dispatchEvent(new PointerEvent(kind, {
  clientX: box.left + 58 + share * (box.width - 84), clientY: box.top + 50,
  pointerType: "mouse", bubbles: true }));
plot.setPointerCapture = () => {};
at("pointermove", 0.5);
document.title = document.querySelector(".values").textContent;
at("pointerdown", 0.5); at("pointermove", 1); at("pointerup", 1);
document.querySelector("table.sortable thead tr").lastElementChild.firstElementChild.click();
</script>"""


@pytest.mark.long
def test_curves_are_drawn_read_and_zoomed_in_a_browser(outputs: Path, tmp_path: Path) -> None:
    """Also without the added script, which the page's policy would not run."""
    assert command(["report", str(SWEEP)]) == 0
    html = (SWEEP / "report.html").read_text(encoding="utf-8")
    shown = show_file(SWEEP / "report.html", tmp_path)
    assert shown.count('class="line c0"') == 2 and shown.count('class="band c0"') == 2
    moved = tmp_path / "moved.html"
    moved.write_text(
        re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</html>", f"{MOVE}</html>"), encoding="utf-8"
    )
    shown = show_file(moved, tmp_path)
    assert re.search(r"<title>epoch 2lr=0.1 [0-9.]+ \([0-9.]+ to [0-9.]+\)</title>", shown)
    first = shown[shown.index('class="plot"') : shown.index("</figure>")]
    assert re.findall(r'text-anchor="middle">([0-9]+)<', first) == ["2", "3"]
    assert shown.count('<button type="button" class="tool">all epochs') == 2  # enabled again
    assert 'aria-sort="ascending"' in shown
