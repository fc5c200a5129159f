"""The tags and the note that the user gives a run or a sweep, in labels.json."""

import re
from dataclasses import dataclass
from pathlib import Path

from mlpkit.errors import ConfigError, DataError
from mlpkit.system.plain_json import read_object, write_json

LONGEST_NOTE = 1000  # characters
MOST_TAGS = 50

_TAG = re.compile(r"\w[\w.+-]{0,39}")


@dataclass(frozen=True)
class Labels:
    """Tags, in the order in which they were given, and a note of one line."""

    tags: tuple[str, ...] = ()
    note: str = ""


NO_LABELS = Labels()


def check_tag(word: str) -> str:
    """Return the tag if it is valid.

    Raises:
        ConfigError: it is too long, or has characters that a tag may not have.
    """
    if not _is_tag(word):
        raise ConfigError(
            f"tag {word!r}: must be 1 to 40 letters, digits and _ . + -, and must not begin with . + or -"
        )
    return word


def describe_labels(labels: Labels) -> list[str]:
    """Return a line for the tags and a line for the note; none for what is missing."""
    tags = [f"tags: {' '.join(labels.tags)}"] if labels.tags else []
    return [*tags, f"note: {labels.note}"] if labels.note else tags


def read_labels(path: Path) -> Labels:
    """Return the labels in a file, which may be foreign; no labels if there is no file.

    Raises:
        DataError: it is a link, or it cannot be read.
    """
    if path.is_symlink():
        raise DataError(f"{path}: a link, which may lead out of the run; put the file itself there")
    return labels_from(read_object(path), path) if path.exists() else NO_LABELS


def labels_from(content: object, path: Path) -> Labels:
    """Return the labels that a JSON value holds.

    Raises:
        DataError: it holds no valid labels.
    """
    labels = content if isinstance(content, dict) else {}
    tags, note = labels.get("tags", []), labels.get("note", "")
    is_list = isinstance(tags, list) and len(tags) <= MOST_TAGS and all(map(_is_tag, tags))
    if not (is_list and isinstance(note, str) and len(note) <= LONGEST_NOTE):
        raise DataError(f"{path}: its tags or its note cannot be read; mend or remove the file")
    return Labels(tuple(tags), note)


def write_labels(path: Path, labels: Labels) -> None:
    """Write labels, whole or not at all; no labels remove the file.

    Raises:
        ConfigError: there are too many tags, or the note is too long.
        WriteError: the file cannot be written.
    """
    if len(labels.tags) > MOST_TAGS:
        raise ConfigError(f"tag: {len(labels.tags)} tags; a run may have up to {MOST_TAGS}")
    if len(labels.note) > LONGEST_NOTE or not labels.note.isprintable():
        raise ConfigError(f"note: must be one line of up to {LONGEST_NOTE} characters")
    if labels == NO_LABELS:
        path.unlink(missing_ok=True)
        return
    write_json(path, {"tags": list(labels.tags), "note": labels.note})


def _is_tag(word: object) -> bool:
    return isinstance(word, str) and _TAG.fullmatch(word) is not None
