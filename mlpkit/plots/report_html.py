"""Builds a page of HTML that needs nothing from elsewhere. Whatever is not `Html` already is escaped."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mlpkit.analysis.model_facts import Rows
from mlpkit.system.console import printable
from mlpkit.system.web_page import source_hash, style_sheet

_HERE = Path(__file__).parent
STYLE = style_sheet(_HERE / "report.css")
SCRIPT = (_HERE / "report.js").read_text(encoding="utf-8")


class Html(str):
    """HTML, which is put into a page as it is; any other string is text."""


# The browser runs and loads nothing else, whatever a column or a note of the user's files is called.
POLICY = (
    f"default-src 'none'; img-src data:; style-src {source_hash(STYLE)}; script-src {source_hash(SCRIPT)}"
)


def tag(name: str, /, *children: str, **attributes: str | bool) -> Html:
    """Return an element.

    Args:
        name: such as "p".
        children: `Html`, or texts, which are escaped.
        attributes: texts, which are escaped, or whether the attribute is there; `class_` is written class,
            `aria_label` aria-label.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not False
    )
    if name in ("img", "meta"):
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>\n")


def joined(*children: str) -> Html:
    """Return elements and texts one after another."""
    return Html("".join(child if isinstance(child, Html) else _escaped(child) for child in children))


def _escaped(text: str) -> str:
    return escape("\n".join(map(printable, text.split("\n"))))


def paragraphs(*texts: str) -> Html:
    """Return a paragraph for each text that is not empty."""
    return joined(*(tag("p", text) for text in texts if text))


def bullets(texts: Sequence[str]) -> Html:
    """Return a list; nothing for no texts."""
    return tag("ul", *(tag("li", text) for text in texts)) if texts else Html()


def details(title: str, *children: str) -> Html:
    """Return a part that is folded until the reader opens it; nothing if it is empty."""
    return tag("details", tag("summary", title), *children) if any(children) else Html()


def commands(lines: Sequence[tuple[str, str]]) -> Html:
    """Return what each command does, and the command."""
    return tag("dl", *(joined(tag("dt", what), tag("dd", tag("code", line))) for what, line in lines))


def table(content: Rows, label: str, sortable: bool = False) -> Html:
    """Return a table that scrolls sideways where it is too wide; its first column has the rows' names.

    Args:
        content: its cells; a column of numbers is aligned to the right.
        label: what it shows, for readers who do not see it.
        sortable: whether a click on a title sorts it.
    """
    numeric = [all(_is_number(row[place]) for row in content.rows) for place in range(len(content.titles))]

    def cells(row: Sequence[str], kind: str) -> Html:
        return joined(
            *(
                tag(
                    "th" if place == 0 or kind == "col" else "td", cell, **_about(place, kind, numeric[place])
                )
                for place, cell in enumerate(row)
            )
        )

    head = tag("thead", tag("tr", cells(content.titles, "col")))
    body = tag("tbody", *(tag("tr", cells(row, "row")) for row in content.rows))
    grid = tag(
        "table",
        tag("caption", label, class_="unseen"),
        head,
        body,
        class_="sortable" if sortable else "plain",
    )
    return tag("div", grid, class_="wide", tabindex="0", role="region", aria_label=label)


def _about(place: int, kind: str, is_number: bool) -> dict[str, str | bool]:
    scope = {"scope": kind} if place == 0 or kind == "col" else {}
    return {**scope, "class_": "number" if is_number and place else False}


def _is_number(cell: str) -> bool:
    return not cell or cell[0].isdigit() or (cell[0] in "-−–" and not cell[1:2].isalpha())


def picture(content: bytes, alt: str) -> Html:
    """Return a PNG with its caption, which says what it shows."""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return tag("figure", tag("img", src=source, alt=alt), tag("figcaption", alt), class_="picture")


def page(title: str, top: Html, parts: Sequence[tuple[str, Html]], footer: str) -> bytes:
    """Return the whole file.

    Args:
        title: the heading.
        top: what comes before the contents.
        parts: the heading and the content of each part; empty parts are left out.
        footer: the last line.
    """
    shown = [(f"part-{place}", name, part) for place, (name, part) in enumerate(parts, 1) if part]
    contents = tag(
        "nav", *(tag("a", name, href=f"#{place}") for place, name, _ in shown), aria_label="Contents"
    )
    sections = (tag("section", tag("h2", name), part, id=place) for place, name, part in shown)
    head = joined(
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        Html(f"<style>{STYLE}</style>\n"),
    )
    content = tag("main", tag("h1", title), top, contents, *sections, tag("footer", footer))
    return f"<!doctype html>\n<html lang=en>\n{head}{content}<script>{SCRIPT}</script>\n</html>\n".encode()
