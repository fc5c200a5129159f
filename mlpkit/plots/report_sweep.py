"""The report of a sweep: leaderboard, curves of the best settings, pictures, runs, what failed, commands."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mlpkit.analysis.compare import Comparison, Setting, compare_alike
from mlpkit.analysis.fit_file import FitComparison, read_fit
from mlpkit.analysis.leaderboard import headline, legend, result_columns, show_rank, show_setting
from mlpkit.analysis.model_facts import Rows, read_or_empty
from mlpkit.analysis.run_facts import RunFacts, is_warning, read_run, read_text
from mlpkit.analysis.run_table import FIXED, SPLITS, run_rows
from mlpkit.config.nested import shorten
from mlpkit.config.problems import plural, show
from mlpkit.errors import DataError, MlpkitError
from mlpkit.folders.indexed_results import results_below
from mlpkit.folders.labels import NO_LABELS, Labels, read_labels
from mlpkit.folders.listed_run import FINISHED
from mlpkit.folders.results import RunResult
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.run_record import read_summary
from mlpkit.folders.sweep_folder import SweepFolder
from mlpkit.plots import report_run
from mlpkit.plots.drawing import drawing
from mlpkit.plots.report_charts import settings_charts
from mlpkit.plots.report_html import Html, bullets, commands, joined, page, paragraphs, table, tag
from mlpkit.plots.report_parts import (
    curves_part,
    data_part,
    environment_part,
    first_paragraph,
    footer,
    labels_part,
    listed,
    pictures,
    run_pictures,
    scores_part,
    settings_part,
)
from mlpkit.system.console import number

MOST_ROWS = 1000  # of a table
MOST_NAMED = 10  # runs that failed alike


def sweep_report(folder: SweepFolder, errors: Mapping[str, str], warn: Callable[[str], None]) -> bytes:
    """Return the report of a sweep.

    Args:
        folder: the sweep.
        errors: why runs failed or are missing, by the names of their folders, which may not exist.
        warn: called with a warning for each picture that cannot be drawn.

    Raises:
        DataError: it holds no run that can be read.
    """
    problems: list[str] = []
    results = results_below([folder.path], problems.append)
    try:
        compared = compare_alike(results)
    except MlpkitError as error:  # such as: no run has a score
        problems.append(str(error))
        compared = []
    example = read_run(compared[0].best_run.path if compared else results[0].path)
    failed = _failed(results, errors)
    fit = read_fit(folder)
    chosen, labels = ("How mlpkit fit chose", _fit_part(fit) if fit else Html()), _labels(folder, problems)
    if len(results) == 1 and not failed:
        top = joined(report_run.top(example), labels_part(labels))
        return page(report_run.title(example), top, [chosen, *report_run.parts(example)], footer(folder.path))
    models, datasets = _names(results, "model.name"), _names(results, "dataset.name")
    if datasets == example.config.dataset.name:
        datasets = example.config.dataset.title()
    top = joined(
        tag("p", " ".join(_sentences(results, compared, models, datasets)), class_="lead"),
        tag("p", _how_many_failed(results, errors), class_="bad") if failed else Html(),
        labels_part(labels),
    )
    parts = [
        chosen,
        ("Leaderboard", joined(*map(_leaderboard, compared))),
        ("Curves", joined(*(_curves(found, problems.append) for found in compared))),
        ("Pictures", _pictures(folder, compared, warn)),
        ("The best run", _best_part(example) if compared else Html()),
        ("Settings of the best run" if compared else "Settings", settings_part(example)),
        ("Runs", _runs_part(folder, results)),
        ("What failed", bullets(failed)),
        ("Warnings", bullets([*problems, *_warnings(results)])),
        ("Commands", commands(list(_commands(folder, compared, bool(failed))))),
        ("Environment", environment_part(example)),
    ]
    return page(
        f"{'Search' if folder.search.exists() else 'Sweep'}: {models} on {datasets}",
        top,
        parts,
        footer(folder.path),
    )


def _names(results: Sequence[RunResult], key: str) -> str:
    return listed(list(dict.fromkeys(str(run.settings.get(key)) for run in results)))


def _labels(folder: SweepFolder, problems: list[str]) -> Labels:
    try:
        return read_labels(folder.labels)
    except DataError as error:
        problems.append(str(error))
        return NO_LABELS


def _sentences(
    results: Sequence[RunResult], compared: Sequence[Comparison], models: str, datasets: str
) -> Iterator[str]:
    """Yield what was trained on what, and which setting is the best."""
    finished = sum(run.status in FINISHED for run in results)
    done = "" if finished == len(results) else f", {finished:,} of which have finished"
    yield f"{plural(len(results), 'run')} of {models} on {datasets}{done}."
    for found in compared:
        title, best = f"{found.title}: " if found.title else "", found.settings[0]
        keys = listed([shorten(key, found.columns) for key in found.columns])
        count = f"{plural(len(found.settings), 'setting')} of {keys}" if keys else "One setting"
        count_of = f", the mean of {len(best.runs):,} {found.unit}" if len(best.runs) > 1 else ""
        named = f" is {name}" if (name := _named(found, best)) else ""
        interval = ""
        if best.interval is not None:
            interval = f" (95 % interval {number(best.interval[0])}–{number(best.interval[1])})"
        yield (
            f"{title}{count}. The best by {found.metric.split} {found.metric.score}{named}: "
            f"{number(best.mean or 0.0)}{interval}{count_of}."
        )
        alike = sum(setting.differs is False for setting in found.settings)
        if alike:
            others = "one other setting is" if alike == 1 else f"{alike:,} other settings are"
            yield f"{others.capitalize()} not shown to differ from it."


def _named(found: Comparison, setting: Setting) -> str:
    shown = ((shorten(key, found.columns), show_setting(setting, key)) for key in found.columns)
    return ", ".join(f"{name}={value}" for name, value in shown if value)


def _leaderboard(found: Comparison) -> Html:
    settings = found.settings[:MOST_ROWS]
    titles, *cells = result_columns(found, settings, found.unit)
    names = [shorten(key, found.columns) for key in found.columns]
    rows = [
        (show_rank(setting), *(show_setting(setting, key) for key in found.columns), *more)
        for setting, more in zip(settings, cells, strict=True)
    ]
    return joined(
        tag("p", headline(found)),
        table(Rows(("rank", *names, *titles), rows), "Leaderboard", sortable=True),
        bullets(legend(found, settings, found.unit)),
    )


def _curves(found: Comparison, warn: Callable[[str], None]) -> Html:
    charts = settings_charts(found, lambda setting: _named(found, setting) or "all runs", warn)
    about = (
        "Each line is the mean of a setting's runs, the band reaches from the lowest to the highest of them; "
        "of more than three lines only the best has one."
    )
    return curves_part(charts, f"{found.title}: {about}" if found.title else about)


def _pictures(folder: SweepFolder, compared: Sequence[Comparison], warn: Callable[[str], None]) -> Html:
    """Return the pictures of `mlpkit compare --plot`, but for the curves."""
    drawn: dict[str, bytes] = {}
    if not compared:
        return Html()
    with drawing("pictures", warn):
        from mlpkit.plots.comparison import render_comparison

        rendered = render_comparison(compared[0], folder.plots, warn)
        drawn = {path.stem: content for path, content in rendered if path.stem != "curves"}
    about = {"heatmap": "Heat map of the mean scores."}
    score = f"{compared[0].metric.split} {compared[0].metric.score}"
    return pictures(
        [
            (
                content,
                about.get(name, f"{score} over {name.removeprefix('score-')}: mean, interval and runs."),
            )
            for name, content in drawn.items()
        ]
    )


def _best_part(best: RunFacts) -> Html:
    return joined(
        paragraphs(f"{best.folder.path}: {first_paragraph(best)}"),
        scores_part(best),
        run_pictures(best.folder),
        data_part(best),
    )


def _fit_part(fit: FitComparison) -> Html:
    return joined(
        tag("p", fit.about),
        table(Rows(fit.titles, fit.rows), "Comparison of the models"),
        bullets([*fit.lines, *fit.warnings]),
        tag("p", f"The runs of the cross-validation are in {fit.folder}."),
    )


def _runs_part(folder: SweepFolder, results: Sequence[RunResult]) -> Html:
    """Return a table with a row for each run."""
    rows = run_rows(results[:MOST_ROWS])
    keys = list(dict.fromkeys(key for row in rows for key in row if key not in FIXED))
    settings = [key for key in keys if key.partition(".")[0] not in SPLITS]
    scores = [key for key in keys if key.partition(".")[0] in SPLITS]
    cells = [
        (
            Path(row["run"]).name,
            row["status"],
            *("" if row.get(key) is None else show(row[key]).strip("'") for key in settings),
            *("" if row.get(key) is None else number(row[key]) for key in scores),
        )
        for row in rows
    ]
    titles = ("run", "status", *(shorten(key, settings) for key in settings), *scores)
    more = len(results) - len(rows)
    left_out = f"And {plural(more, 'more run')}: mlpkit compare --runs {shlex.quote(str(folder.path))}"
    return joined(
        table(Rows(titles, cells), "Runs of the sweep", sortable=True), paragraphs(left_out if more else "")
    )


def _failed(results: Sequence[RunResult], errors: Mapping[str, str]) -> list[str]:
    """Return a line for each reason for which runs are not finished, with their names."""
    by_reason: dict[str, list[str]] = {}
    for run in results:
        if run.status not in FINISHED:
            said = read_or_empty(read_summary, RunFolder(run.path)).get("error")
            reason = f"{run.status}: {said}" if said else errors.get(run.path.name, run.status)
            by_reason.setdefault(reason, []).append(run.path.name)
    known = {run.path.name for run in results}
    for name, reason in errors.items():
        if name not in known:
            by_reason.setdefault(reason, []).append(name)
    lines = []
    for reason, names in by_reason.items():
        more = ", …" if len(names) > MOST_NAMED else ""
        lines.append(f"{plural(len(names), 'run')} {reason} ({', '.join(names[:MOST_NAMED])}{more})")
    return lines


def _warnings(results: Sequence[RunResult]) -> list[str]:
    """Return the warnings in the runs' train.log, each once, with the number of runs that have it."""
    lines: Counter[str] = Counter()
    for run in results:
        lines.update({line for line in read_text(RunFolder(run.path).log).splitlines() if is_warning(line)})
    return [line if count == 1 else f"{line} ({count:,} runs)" for line, count in lines.items()]


def _how_many_failed(results: Sequence[RunResult], errors: Mapping[str, str]) -> str:
    names = {run.path.name for run in results}
    done = {run.path.name for run in results if run.status in FINISHED}
    every = names | set(errors)
    return f"{len(every - done):,} of {plural(len(every), 'run')} failed or are not done; below is why."


def _commands(
    folder: SweepFolder, compared: Sequence[Comparison], unfinished: bool
) -> Iterator[tuple[str, str]]:
    path = shlex.quote(str(folder.path))
    for number_, line in enumerate(read_text(folder.command).splitlines()):
        yield ("and then by" if number_ else "It was trained by, and is repeated by"), line
    if unfinished:
        yield "Train the runs that failed or are missing", f"mlpkit resume {path}"
    if not compared:
        return
    best = compared[0].best_run.path
    yield "Compare the settings, with pictures in its folder", f"mlpkit compare {path} --plot"
    yield "Predict other rows with the best run", f"mlpkit predict {path} --input NEW.csv"
    if len(compared[0].settings[0].runs) > 1:
        line = f"mlpkit predict {path} --ensemble --input NEW.csv"
        yield "or with the mean of all runs of its setting", line
    yield "Use the best run without mlpkit", f"mlpkit export {path} --format python"
    yield "A report of the best run", f"mlpkit report {shlex.quote(str(best))}"
