"""What the server reads and answers, as JSON Schema and as OpenAPI."""

from typing import Any

from mlpkit.data.encoder import BooleanColumn, CategoryColumn, Column, DateColumn, Linear, NumberColumn
from mlpkit.data.input_schema import InputSchema
from mlpkit.deploy.limits import MOST_BYTES, MOST_ROWS
from mlpkit.deploy.serve_model import Served
from mlpkit.version import __version__

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(input_schema: InputSchema) -> Json:
    """Return the JSON Schema of a body of POST /predict: a row, or a list of rows."""
    row = _pixels(input_schema) if input_schema.is_image else _row(input_schema)
    return {
        "$schema": DIALECT,
        "title": "rows to predict",
        "$defs": {"row": row},
        "anyOf": [
            *([] if input_schema.is_image else [{"$ref": "#/$defs/row"}]),
            {"type": "array", "items": {"$ref": "#/$defs/row"}, "minItems": 1, "maxItems": MOST_ROWS},
        ],
    }


def _row(input_schema: InputSchema) -> Json:
    columns = columns_of(input_schema)
    return {
        "type": "object",
        "properties": {column.column: _value(column) for column in columns},
        "required": [column.column for column in columns],
        "additionalProperties": input_schema.encoder is not None,
    }


def _pixels(input_schema: InputSchema) -> Json:
    count = len(input_schema.features)
    shape = "×".join(map(str, input_schema.input_shape))
    pixel = {"type": "number", "minimum": 0, "maximum": 1}
    about = f"the pixels of a picture of {shape}, row by row"
    return {"type": "array", "items": pixel, "minItems": count, "maxItems": count, "description": about}


def columns_of(input_schema: InputSchema) -> tuple[Column, ...]:
    """Return the columns of a row; without an encoder they are numbers, none of which may be missing."""
    if input_schema.encoder is not None:
        return input_schema.encoder.columns
    return tuple(NumberColumn(name, None, Linear()) for name in input_schema.features)


def may_be_missing(column: Column) -> bool:
    """Whether a row may have no value in this column."""
    if isinstance(column, NumberColumn):
        return column.fill is not None
    if isinstance(column, CategoryColumn):
        return "missing" not in column.refuses
    return not column.refuses_missing


def _value(column: Column) -> Json:
    """Return the schema of a value. Numbers and categories may be spelled either way: 3, 3.0 or "3"."""
    node: Json
    if isinstance(column, NumberColumn):
        node = {"type": ["number"]}
    elif isinstance(column, BooleanColumn):
        node = {"type": ["boolean", "string", "number"]}
    elif isinstance(column, DateColumn):
        node = {"type": ["string"], "description": f"a date, as {column.format or '2024-01-31'}"}
    elif "unknown" in column.refuses:
        node = {"enum": list(column.levels)}
    else:
        node = {"type": ["string", "number", "boolean"], "examples": list(column.levels)}
    if may_be_missing(column):
        for key in ("type", "enum"):
            if key in node:
                node[key] = [*node[key], "null" if key == "type" else None]
    return node


def openapi(model: Served) -> Json:
    """Return the OpenAPI document of the server."""
    schema = schema_of(model.predictor.input_schema)
    row = schema.pop("$defs")["row"]
    schema.pop("$schema")
    rows = {**schema, "anyOf": [_repointed(option) for option in schema["anyOf"]]}
    picture = {"schema": {"type": "string", "format": "binary"}}
    body = {
        "application/json": {"schema": rows},
        "text/csv": {"schema": {"type": "string"}},
        **({"image/*": picture} if model.predictor.input_schema.is_image else {}),
    }
    kinds = {name: {"type": "boolean"} for name in ("header", "invert")}
    about = {
        "header": "whether the first line of a csv holds names; left out, it is inferred",
        "pixels": "the largest possible pixel, such as 255",
        "invert": "pictures are dark on light",
    }
    parameters = [
        {"name": name, "in": "query", "description": text, "schema": kinds.get(name, {"type": "integer"})}
        for name, text in about.items()
    ]
    predict = {
        "summary": "Predict rows",
        "description": f"At most {MOST_ROWS:,} rows and {MOST_BYTES >> 20} MB. With Accept: text/csv the "
        "answer is csv.",
        "parameters": parameters,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": _answer(
                "the predictions, in the order of the rows", {"$ref": "#/components/schemas/answer"}
            ),
            **{
                status: _answer(text, {"$ref": "#/components/schemas/error"})
                for status, text in FAULTS.items()
            },
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"mlpkit serve: {model.stored.config.dataset.title()}", "version": __version__},
        "paths": {
            "/predict": {"post": predict},
            "/schema": {"get": _get("The JSON Schema of the rows", "application/schema+json")},
            "/health": {"get": _get("Whether the server is up, and the epoch of its model")},
            "/metrics": {"get": _get("Counts and times, for Prometheus", "text/plain")},
            "/openapi.json": {"get": _get("This document")},
        },
        "components": {
            "schemas": {"row": row, "answer": _ANSWER, "error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


FAULTS = {
    "400": "the rows cannot be read",
    "401": "the token is missing or wrong",
    "408": "the body did not come in time",
    "413": "too many rows or bytes",
    "415": "neither JSON nor csv",
    "503": "too many requests wait",
}
_COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}
_ANSWER = {
    "type": "object",
    "properties": {
        "predictions": {"type": "array", "items": {"type": "object"}},
        "missing": {**_COUNTS, "description": "how many values were missing, by column"},
        "unseen": {**_COUNTS, "description": "how many values did not occur in training, by column"},
        "notes": {"type": "array", "items": {"type": "string"}},
        "epoch": {"type": ["integer", "null"], "description": "of the model; null for an ensemble"},
    },
}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def _repointed(option: Json) -> Json:
    row = {"$ref": "#/components/schemas/row"}
    return row if "$ref" in option else {**option, "items": row}


def _answer(about: str, schema: Json) -> Json:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _get(summary: str, kind: str = "application/json") -> Json:
    return {"summary": summary, "responses": {"200": {"description": "", "content": {kind: {}}}}}
