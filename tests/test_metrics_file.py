"""metrics.jsonl is read strictly, and cut where a run goes on."""

import json
import os
from pathlib import Path

import pytest

from mlpkit.errors import DataError, WriteError
from mlpkit.folders import metrics_file
from mlpkit.folders.metrics_file import MetricsPosition, Record, keep_until, lines_of, read_metrics
from mlpkit.system.append_file import AppendFile


def record(epoch: int, *splits: str) -> Record:
    scores = {split: {"loss": epoch / 4, "accuracy": None} for split in splits}
    return Record(epoch, 3 * epoch, scores, epoch / 10, {"lr": 0.5, "grad_norm": 2.0}, 0.0)


def write(path: Path, *records: Record) -> list[str]:
    lines = [line for item in records for line in lines_of(item)]
    path.write_text("".join(lines))
    return lines


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = write(path, record(1, "train", "val"), record(2, "train"))
    assert read_metrics(path) == [json.loads(line) for line in lines]
    assert read_metrics(path)[0] == {
        "epoch": 1, "step": 3, "split": "train", "loss": 0.25, "accuracy": None, "lr": 0.5, "grad_norm": 2.0,
        "seconds": 0.1,
    }  # fmt: skip


GOOD = '{"epoch": 1, "step": 1, "split": "train", "loss": 1.0, "seconds": 0.5}'


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "1", "null", '"a"', "[" * 50_000, "\x1b[31m", "{}", GOOD[:-1], GOOD.replace("1.0", '"1"'),
        GOOD.replace("1.0", "[1]"), GOOD.replace("1.0", "true"), GOOD.replace("train", "\\u001b"),
        GOOD.replace("loss", "a b"), GOOD.replace('"epoch": 1', '"epoch": -1'),
        GOOD.replace('"epoch": 1', '"epoch": 1.5'), GOOD.replace("0.5", "null"),
    ],
    ids=lambda line: line[:30],
)  # fmt: skip
def test_a_line_that_is_none(line: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(DataError) as caught:
        read_metrics(path)
    assert str(caught.value) == f"{path}:2: not a line of metrics; mend or remove the line"
    assert keep_until(path, 5, ("train",), 1).size == len(GOOD) + 1


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, problem in (
        ("pipe", "not a regular file"),
        ("none", "no such file"),
        (".", "not a regular file"),
    ):
        with pytest.raises(DataError) as caught:
            read_metrics(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {problem}"
    assert keep_until(tmp_path / "none", 3, ("train",), 1) == MetricsPosition()


def test_a_long_file_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, *(record(epoch, "train", "val") for epoch in range(1, 101)))
    monkeypatch.setattr(metrics_file, "LARGEST_READ", path.stat().st_size // 3)
    assert [line["epoch"] for line in read_metrics(path)] == [n for n in range(4, 101, 4) for _ in range(2)]


@pytest.mark.parametrize(
    ("until", "splits", "every", "kept"),
    [
        (3, ("train", "val"), 1, 3),
        (2, ("train", "val"), 1, 2),
        (0, ("train", "val"), 1, 0),
        (9, ("train", "val"), 1, 3),  # the test scores were the last words of a run
        (9, ("train", "val", "test"), 1, 5),
        (3, ("train", "val"), 2, 2),  # the third epoch had a line only because it was the last
        (2, ("train", "val"), 2, 2),
        (9, ("val",), 1, 0),
    ],
)
def test_what_is_kept(until: int, splits: tuple[str, ...], every: int, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    records = [
        *(record(epoch, "train", "val") for epoch in (1, 2, 3)),
        record(3, "test"),
        record(4, "train", "val"),
        record(5, "train"),
    ]
    lines = write(path, *records)
    path.write_text(path.read_text() + lines[-1][:-1])  # a line that was not finished
    found = keep_until(path, until, splits, every)
    count = {0: 0, 2: 4, 3: 6, 5: len(lines)}[kept]
    assert found.size == sum(len(line) for line in lines[:count])
    assert found.epoch == kept
    assert found.seconds == kept / 10
    if kept in (2, 3):
        assert found.latest == record(kept, "train", "val")


def test_a_piece_is_in_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    file = AppendFile(path, size=4)
    file.write(b"ab")
    file.close()
    assert path.read_bytes() == b"0123ab"
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(WriteError) as caught:
        AppendFile(tmp_path / "link")
    assert str(caught.value) == (
        f"{tmp_path}/link: cannot be opened for writing (Too many levels of symbolic links); remove the link"
    )
