"""Reads the scores in summary.json."""

from pydantic import TypeAdapter, ValidationError

from mlpkit.errors import DataError
from mlpkit.runs.run_folder import RunFolder
from mlpkit.system.plain_json import read_object


def summarized_scores(folder: RunFolder, which: str, step: int) -> dict[str, dict[str, float]] | None:
    """Return the scores of the best or the last weights by split, or None if they are not of this step."""
    try:
        summary = read_object(folder.summary)
        about = summary["best"] if which == "best" else {**summary, "step": summary["steps"]}
        if about["step"] != step:
            return None
        scores = {name: about[name] for name in ("train", "val", "test") if name in about}
        return TypeAdapter(dict[str, dict[str, float]]).validate_python(scores, strict=True)
    except (DataError, ValidationError, KeyError, TypeError):
        return None
