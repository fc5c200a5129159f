"""What stands for a missing value is the same from files and from memory, in models and in exports."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from exporting import MLP, QUICK, export, read_columns
from running import train
from tables import of

import mlpkit
from mlpkit.analysis.predict import load_predictor
from mlpkit.cli.main import run as command
from mlpkit.deploy.check_rows import encode_rows
from mlpkit.deploy.format import Source, format_of
from mlpkit.sklearn import MLPClassifier

WORDS = ("", "n.k.", "NA", "?", "None", " ")
HERE = {  # which of the words are missing
    "usual": ("", "NA", "?", "None", " "),
    "own": ("", "n.k.", " "),
}


@pytest.fixture(scope="module", params=HERE)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a table with missing values, with the usual words or own ones."""
    root = tmp_path_factory.mktemp(str(request.param))
    word = HERE[str(request.param)][1]
    lines = [f"{'abc'[i % 3] if i % 5 else word},{i % 7 if i % 4 else ''},{i % 2}" for i in range(80)]
    (root / "rows.csv").write_text("\n".join(["kind,size,y", *lines]))
    own = ("dataset.missing=[n.k.]",) if request.param == "own" else ()
    found = train(root, *of(root / "rows.csv", target="y"), *own, *MLP, *QUICK).path
    (found / "name").write_text(str(request.param))
    return found


def probabilities(columns: dict[str, Any]) -> Any:
    return np.stack([columns["p(0)"], columns["p(1)"]], 1)


def test_files_values_and_rows_in_memory(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = list(WORDS)
    columns: dict[str, list[str | None]] = {
        "kind": [*kinds, None, "a", "z"],
        "size": ["3"] * (len(kinds) + 3),
    }
    plain = ["" if kind is None else kind for kind in columns["kind"]]
    source = tmp_path / "rows.csv"
    source.write_text("kind,size\n" + "".join(f'"{kind}",3\n' for kind in plain))
    assert command(["predict", str(run), "--input", str(source)]) == 0
    expected = probabilities(read_columns(capsys.readouterr().out))
    missing, unseen = expected[len(kinds)], expected[-1]
    assert not np.allclose(missing, unseen)
    here = HERE[(run / "name").read_text()]
    for word, said in zip(WORDS, expected, strict=False):
        np.testing.assert_allclose(said, missing if word in here else unseen, rtol=1e-6, err_msg=word)

    words = [word for kind in plain for word in ("--values", f"kind={kind},size=3")]
    assert command(["predict", str(run), *words]) == 0
    np.testing.assert_allclose(probabilities(read_columns(capsys.readouterr().out)), expected, rtol=1e-6)
    model = mlpkit.load(run)
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for data in (columns, rows, pa.table(columns), [list(row.values()) for row in rows]):
        np.testing.assert_allclose(model.predict_proba(data), expected, rtol=1e-6)
    estimator = MLPClassifier.load(run / "checkpoints" / "best.safetensors")
    np.testing.assert_allclose(estimator.predict_proba(pa.table(columns)), expected, rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(
    "format_",
    [
        "python",
        "c",
        "onnx",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("state_dict", "sklearn")),
    ],
)
def test_exports(format_: str, run: Path, tmp_path: Path) -> None:
    """The files are asked for each word, as rows in memory."""
    export(format_, tmp_path / "out", run)
    predictor, stored = load_predictor(run / "checkpoints" / "best.safetensors")
    encoder = predictor.input_schema.encoder
    assert encoder is not None
    kinds = [word for word in WORDS if word != " " or format_ in ("python", "sklearn", "state_dict")]
    columns: dict[str, list[Any]] = {"kind": [*kinds, None, "z"], "size": [3.0] * (len(kinds) + 2)}
    answers = format_of(format_).run(
        Source(predictor, stored.config), tmp_path / "out", encode_rows(encoder, columns)
    )
    missing, unseen = answers.outputs[-2:]
    assert not np.allclose(missing, unseen)
    here = HERE[(run / "name").read_text()]
    for word, said in zip(kinds, answers.outputs, strict=False):
        np.testing.assert_allclose(said, missing if word in here else unseen, rtol=1e-5, err_msg=word)


def test_a_frame_that_an_estimator_is_fitted_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the empty text is missing there: other words are texts, also where the saved model is used."""
    kinds = ["NA", "b", "", None] * 20
    frame = pa.table({"kind": kinds, "size": [float(i % 7) for i in range(80)]})
    model = MLPClassifier((4,), max_iter=3, n_iter_no_change=None, random_state=0)
    model.fit(frame, [i % 2 for i in range(80)]).save(tmp_path / "model.safetensors")
    expected = model.predict_proba(frame)
    np.testing.assert_array_equal(
        expected[2::4],
        model.predict_proba(frame.set_column(0, "kind", pa.array([None] * 80, pa.string())))[2::4],
    )
    assert not np.allclose(expected[0::28], expected[3::28])
    np.testing.assert_allclose(
        mlpkit.load(tmp_path / "model.safetensors").predict_proba(frame), expected, rtol=1e-6
    )
    source = tmp_path / "rows.csv"
    source.write_text("kind,size\n" + "".join(f"{kind or ''},{i % 7}\n" for i, kind in enumerate(kinds)))
    assert command(["predict", str(tmp_path / "model.safetensors"), "--input", str(source)]) == 0
    np.testing.assert_allclose(probabilities(read_columns(capsys.readouterr().out)), expected, rtol=1e-5)
    export("python", tmp_path / "out", tmp_path / "model.safetensors")
    words = [sys.executable, "-I", str(tmp_path / "out" / "model.py"), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(probabilities(read_columns(done.stdout)), expected, rtol=1e-5)
