"""Tables of compared settings and runs as files: csv, jsonl, markdown, LaTeX and parquet.

csv, jsonl and parquet have all digits and full keys; markdown and LaTeX look like the printed table.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpkit.analysis.compare import Comparison, Setting
from mlpkit.analysis.leaderboard import headline, legend, result_columns, show_rank, show_setting, unscored
from mlpkit.config.nested import shorten
from mlpkit.folders.output_file import write_output
from mlpkit.system.console import printable
from mlpkit.system.plain_json import to_json

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = (".csv", ".jsonl", ".md", ".tex", ".parquet")

Row = dict[str, Any]


def write_leaderboards(path: Path, shown: Sequence[tuple[Comparison, Sequence[Setting]]], unit: str) -> None:
    """Write the settings of some comparisons, in the format of the file's suffix.

    Args:
        path: the file.
        shown: each comparison, and those of its settings that are written.
        unit: what the runs of a setting are called: seeds, folds or runs.

    Raises:
        WriteError: the file cannot be written.
    """
    if path.suffix in (".md", ".tex"):
        texts = [_to_text(path.suffix, comparison, settings, unit) for comparison, settings in shown]
        write_output(path, "\n".join(texts).encode(errors="surrogateescape"))
    else:
        rows = [setting_row(setting, comparison) for comparison, settings in shown for setting in settings]
        write_rows(path, rows)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, whose keys may differ, in the format of the file's suffix.

    Raises:
        WriteError: the file cannot be written.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    rows = [{key: row.get(key) for key in columns} for row in rows]
    if path.suffix == ".parquet":
        write_output(path, _to_parquet(rows, columns))
        return
    if path.suffix in (".md", ".tex"):
        cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
        text = _text_table(path.suffix, columns, cells)
    elif path.suffix == ".csv":
        text = _to_csv(rows, columns)
    else:
        text = "".join(f"{to_json(row)}\n" for row in rows)
    write_output(path, text.encode(errors="surrogateescape"))


def setting_row(setting: Setting, comparison: Comparison) -> Row:
    """Return a setting of a comparison with all its figures, by the names of the columns."""
    low, high = setting.interval or (None, None)
    worse_low, worse_high = setting.worse_by or (None, None)
    return {
        **({"table": comparison.title} if comparison.title else {}),
        "rank": setting.rank,
        **{key: setting.options.get(key) for key in comparison.columns},
        f"{comparison.metric.split}.{comparison.metric.score}": setting.mean,
        "low": low,
        "high": high,
        "runs": len(setting.runs),
        "missing": setting.missing,
        "worse_by_low": worse_low,
        "worse_by_high": worse_high,
        "p_value": setting.p_value,
        "differs": setting.differs,
        "seconds": setting.seconds,
    }


def _to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = row.values()
        writer.writerow(json.dumps(value) if isinstance(value, list | bool) else value for value in values)
    return stream.getvalue()


def _to_parquet(rows: Sequence[Row], columns: Sequence[str]) -> bytes:
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(to_arrow(rows, columns), buffer)
    return buffer.getvalue()


def to_arrow(rows: Sequence[Row], columns: Sequence[str]) -> "pa.Table":
    """Return rows as an Arrow table; a column of values of several types becomes text."""
    import pyarrow as pa

    arrays = []
    for key in columns:
        values = [row.get(key) for row in rows]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        elif len(kinds) > 1 or kinds & {list, dict}:
            values = [None if value is None else json.dumps(value) for value in values]
        arrays.append(pa.array(values))
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _to_text(suffix: str, comparison: Comparison, settings: Sequence[Setting], unit: str) -> str:
    titles, *cells = result_columns(comparison, settings, unit)
    names = ["rank", *(shorten(key, comparison.columns) for key in comparison.columns), *titles]
    rows = [
        [show_rank(setting), *(show_setting(setting, key) for key in comparison.columns), *others]
        for setting, others in zip(settings, cells, strict=True)
    ]
    table = _text_table(suffix, names, rows)
    below = [*legend(comparison, settings, unit), *unscored(comparison, None)]
    if suffix == ".tex":
        return "".join(f"% {printable(line)}\n" for line in (headline(comparison), *below)) + table
    lines = [headline(comparison), "", table, *(f"- {printable(line)}" for line in below)]
    return "\n".join(lines).rstrip() + "\n"


def _text_table(suffix: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if suffix == ".md":
        lines = [names, ["---:"] * len(names), *rows]
        return "".join(f"| {' | '.join(_in_markdown(cell) for cell in row)} |\n" for row in lines)
    head, *body = [f"{' & '.join(_in_latex(cell) for cell in row)} \\\\\n" for row in (names, *rows)]
    start = f"\\begin{{tabular}}{{{'r' * len(names)}}}\n\\hline\n"
    return f"{start}{head}\\hline\n{''.join(body)}\\hline\n\\end{{tabular}}\n"


def _in_markdown(cell: str) -> str:
    return printable(cell).replace("|", r"\|")


_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "…": r"\dots{}",
    "–": "--",
}


def _in_latex(cell: str) -> str:
    return "".join(_LATEX.get(character, character) for character in printable(cell))
