"""What summary.json says of a run that has ended."""

from pydantic import TypeAdapter, ValidationError

from mlpkit.errors import DataError
from mlpkit.runs.run_folder import RunFolder
from mlpkit.system.plain_json import read_object


def summarized_scores(folder: RunFolder, which: str, step: int) -> dict[str, dict[str, float]] | None:
    """Return what summary.json says of the best or the last weights, where it is of that step."""
    try:
        summary = read_object(folder.summary)
        about = summary["best"] if which == "best" else {**summary, "step": summary["steps"]}
        if about["step"] != step:
            return None
        scores = {name: about[name] for name in ("train", "val", "test") if name in about}
        return TypeAdapter(dict[str, dict[str, float]]).validate_python(scores, strict=True)
    except (DataError, ValidationError, KeyError, TypeError):
        return None
