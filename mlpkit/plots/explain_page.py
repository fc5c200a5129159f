"""An explanation of a training step as one HTML page or one Markdown file, which need no network."""

import html
import re
from collections.abc import Callable
from pathlib import Path

from mlpkit.analysis.explain_text import Explanation, Part
from mlpkit.analysis.number_table import Cell, Table
from mlpkit.plots.formulas import latex, mathml
from mlpkit.system.console import figures
from mlpkit.system.web_page import style_sheet

STYLE = style_sheet(Path(__file__).parent / "explain.css")


def to_html(explanation: Explanation) -> str:
    """Return the page."""
    title = html.escape(explanation.title)
    parts = "\n".join(map(_html_part, explanation.parts))
    lines = _paragraphs(explanation.lines, "note")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{title}</h1>\n{lines}\n{parts}\n</body>\n</html>\n"
    )


def _paragraphs(lines: tuple[str, ...], kind: str) -> str:
    return "\n".join(f'<p class="{kind}">{html.escape(line)}</p>' for line in lines)


def _html_part(part: Part) -> str:
    formulas = "\n".join(
        f'<p class="formula">{mathml(text)} <span class="note">{shape}</span></p>'
        for text, shape in part.formulas
    )
    table = _html_table(part.table) if part.table else ""
    heading = f"<h2>{html.escape(part.title)}</h2>"
    return "\n".join(filter(None, (heading, formulas, _paragraphs(part.lines, "line"), table)))


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in _headings(table, html.escape, mathml))
    rows = "\n".join(
        f"<tr>{''.join(f'<td>{html.escape(_text(cell))}</td>' for cell in row)}</tr>" for row in table.rows
    )
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>'


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else figures(cell)


def _headings(table: Table, text: Callable[[str], str], formula: Callable[[str], str]) -> list[str]:
    """Return the headings of the columns: symbols such as z₁ as formulas, words and names as text."""

    def is_symbol(name: str) -> bool:
        return bool(name) and not re.fullmatch(r"[\w .()…-]{2,}(?<![₀-₉])", name)

    return [formula(name) if table.are_symbols and is_symbol(name) else text(name) for name in table.columns]


def to_markdown(explanation: Explanation) -> str:
    """Return the Markdown text, with formulas in dollar signs."""
    lines = [f"# {_escape(explanation.title)}", "", *(f"- {_escape(line)}" for line in explanation.lines)]
    for part in explanation.parts:
        lines += ["", f"## {_escape(part.title)}", ""]
        for text, shape in part.formulas:
            lines += [f"${latex(text)}$ {shape}".rstrip(), ""]
        for line in part.lines:
            lines += [_escape(line), ""]
        if part.table:
            columns = _headings(part.table, _escape, lambda text: f"${latex(text)}$")
            lines += [_row(columns), _row(["---", *["---:"] * (len(columns) - 1)])]
            lines += [_row([_escape(_text(cell)) for cell in row]) for row in part.table.rows]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """Return text in which no sign means something to Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|$#" else sign for sign in text)
