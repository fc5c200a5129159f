"""What the server answers: predictions as JSON or csv, pages, and errors."""

from typing import Any

from starlette.responses import HTMLResponse, Response

from mlpkit.analysis.predictions import Predictions
from mlpkit.analysis.predictions_file import Columns, as_columns, to_csv, to_rows
from mlpkit.data.encode import ColumnIssues
from mlpkit.deploy.serve_model import Served
from mlpkit.deploy.serve_pages import POLICY
from mlpkit.deploy.serve_rows import Rows
from mlpkit.system.plain_json import to_json


def as_json(predictions: Predictions, rows: Rows, model: Served) -> Response:
    """Return the predictions as JSON, with what was noticed about the rows."""
    return json_answer(
        {
            "predictions": to_rows(_columns(predictions, rows, model)),
            "missing": _counts(rows.issues, "missing"),
            "unseen": _counts(rows.issues, "unseen"),
            "notes": list(rows.notes),
            "epoch": model.epoch,
        }
    )


def as_csv(predictions: Predictions, rows: Rows, model: Served) -> Response:
    """Return the same csv as `mlpkit predict`; the counts of all columns are in the head."""
    head = {f"mlpkit-{kind}": str(sum(_counts(rows.issues, kind).values())) for kind in ("missing", "unseen")}
    if model.epoch is not None:
        head["mlpkit-epoch"] = str(model.epoch)
    text = to_csv(_columns(predictions, rows, model))
    return Response(text, media_type="text/csv", headers=head)


def _columns(predictions: Predictions, rows: Rows, model: Served) -> Columns:
    unlike = None if model.novelty is None else model.novelty.of(rows.values)
    return as_columns(predictions, model.predictor.input_schema, novelty=unlike)


def _counts(issues: tuple[ColumnIssues, ...], kind: str) -> dict[str, int]:
    return {found.column: getattr(found, kind) for found in issues if getattr(found, kind)}


def json_answer(content: Any, status: int = 200, kind: str = "json", headers: Any = None) -> Response:
    """Return a value as JSON."""
    return Response(to_json(content), status, headers, f"application/{kind}")


def error_answer(status: int, line: str, headers: Any = None) -> Response:
    """Return a line that says what is wrong."""
    close = {"connection": "close"}  # what is left of the body will not be read
    more = {
        401: {"www-authenticate": 'Basic realm="mlpkit"'},
        408: close,
        413: close,
        503: {"retry-after": "1"},
    }
    return json_answer({"error": line}, status, headers=headers or more.get(status))


def page_answer(text: str) -> Response:
    """Return a page, which may load nothing else."""
    return HTMLResponse(text, headers={"content-security-policy": POLICY, "referrer-policy": "no-referrer"})
