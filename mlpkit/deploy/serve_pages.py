"""The pages of the server: a form to try the model, and a description of the paths."""

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path

from mlpkit.data.encoder import BooleanColumn, CategoryColumn, Column, DateColumn, NumberColumn
from mlpkit.deploy.serve_model import Served
from mlpkit.deploy.serve_schema import columns_of, may_be_missing, openapi
from mlpkit.system.web_page import source_hash, style_sheet

MOST_FIELDS = 200  # a form with more is replaced by a box for a row
MOST_LEVELS = 200  # in a list to choose from

_HERE = Path(__file__).parent
STYLE = style_sheet(_HERE / "page.css")
SCRIPT = (_HERE / "page.js").read_text(encoding="utf-8")


# A browser runs and loads nothing else, whatever a column of a foreign checkpoint is called.
POLICY = (
    f"default-src 'none'; script-src {source_hash(SCRIPT)}; style-src {source_hash(STYLE)}; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def form_page(model: Served) -> str:
    """Return the page with a field for each column, which shows the prediction and its probabilities."""
    schema = model.predictor.input_schema
    says = " and ".join(schema.targets)
    fields = "\n".join(_fields(model))
    return _page(
        f"{model.stored.config.dataset.title()}: {says}",
        f"<form>\n{fields}\n<button>Predict</button>\n</form>\n<output aria-live='polite'></output>\n"
        f"<footer>{schema.task}, {model.about}; <a href='docs'>use it from a program</a></footer>\n"
        f"<script>{SCRIPT}</script>",
    )


def _fields(model: Served) -> Iterator[str]:
    schema = model.predictor.input_schema
    if schema.is_image:
        yield _label("picture", "<input type=file accept='image/*' required>")
    elif len(schema.columns) > MOST_FIELDS:
        yield "<textarea rows=8 placeholder='rows as JSON or csv' required></textarea>"
    else:
        for column in columns_of(schema):
            yield _label(column.column, _field(column))


def _label(name: str, field: str) -> str:
    return f"<label><span>{escape(name)}</span>{field}</label>"


def _field(column: Column) -> str:
    name, optional = f"name='{escape(column.column)}'", may_be_missing(column)
    needed = "placeholder='may be empty'" if optional else "required"
    if isinstance(column, NumberColumn):
        return f"<input {name} inputmode=decimal autocomplete=off {needed}>"
    if isinstance(column, DateColumn):
        wanted = escape(column.format or "2024-01-31")
        return f"<input {name} autocomplete=off placeholder='{wanted}'{'' if optional else ' required'}>"
    levels = ("yes", "no") if isinstance(column, BooleanColumn) else column.levels
    if isinstance(column, CategoryColumn) and len(levels) > MOST_LEVELS:
        return f"<input {name} autocomplete=off {needed}>"
    options = "".join(
        f"<option value='{escape(level)}'>{escape(level)}</option>" for level in levels if level
    )
    empty = "<option value=''>no value</option>" if optional else ""
    return f"<select {name}>{options}{empty}</select>"


def api_page(model: Served) -> str:
    """Return the page that describes the paths, with an example of a row."""
    document = openapi(model)
    rows = "\n".join(
        f"<tr><td><b>{method.upper()}</b> {path}</td><td>{escape(about['summary'])}</td></tr>"
        for path, methods in document["paths"].items()
        for method, about in methods.items()
    )
    faults = "\n".join(
        f"<tr><td>{status}</td><td>{escape(about['description'])}</td></tr>"
        for status, about in document["paths"]["/predict"]["post"]["responses"].items()
    )
    row = json.dumps(document["components"]["schemas"]["row"], indent=2, ensure_ascii=False)
    return _page(
        document["info"]["title"],
        f"<table>{rows}</table>\n<h2>A request</h2>\n<pre>{escape(_example(model))}</pre>\n"
        f"<h2>Answers of /predict</h2>\n<table>{faults}</table>\n"
        f"<h2>The JSON Schema of a row</h2>\n<pre>{escape(row)}</pre>\n"
        "<footer><a href='openapi.json'>OpenAPI</a>, <a href='./'>the form</a></footer>",
    )


def _example(model: Served) -> str:
    schema = model.predictor.input_schema
    if schema.is_image:
        return "curl --data-binary @picture.png http://HOST:PORT/predict"
    row = {column.column: _example_value(column) for column in columns_of(schema)[:MOST_FIELDS]}
    return f"curl --data-binary '{json.dumps([row], ensure_ascii=False)}' http://HOST:PORT/predict"


def _example_value(column: Column) -> object:
    if isinstance(column, NumberColumn):
        return 0.5 if column.fill is None else column.fill
    if isinstance(column, CategoryColumn):
        return column.levels[0]
    return True if isinstance(column, BooleanColumn) else "2024-01-31"


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n<h1>{escape(title)}</h1>\n{body}\n</html>\n"
    )
