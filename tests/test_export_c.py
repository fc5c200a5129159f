"""`mlpkit export --format c`: a header that compiles without a warning and predicts as mlpkit does."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import running
import tables
from cases import rest_long
from conftest import Refused
from exporting import KINDS, QUICK, Models, export, is_quick

from mlpkit.deploy import normal_quantile

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only")
C, CPLUSPLUS = ("cc", "-x", "c", "-std=c99"), ("c++", "-x", "c++", "-std=c++11")

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


def compile_strictly(header: Path, *languages: tuple[str, ...]) -> None:
    """Compile a program that calls the header; a warning is an error."""
    name = header.stem
    program = header.with_name("main.c")
    program.write_text(
        f'#include "{header.name}"\nint main(void) {{ static struct {name}_input in; '
        f"static struct {name}_output out; return {name}_predict(&in, &out); }}\n"
    )
    for command in languages:
        done = subprocess.run([*command, *STRICT, str(program)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", rest_long(KINDS, is_quick))
def test_it_predicts_the_same_and_compiles_without_a_warning(
    kind: str, models: Models, tmp_path: Path
) -> None:
    manifest = export("c", tmp_path / "out", models.run(kind))
    assert list(manifest["files"]) == ["model.h"]
    text = (tmp_path / "out/model.h").read_text(encoding="ascii")
    assert [line for line in text.splitlines() if line.startswith("#include")] == [
        "#include <math.h>",
        "#include <string.h>",
    ]
    compile_strictly(tmp_path / "out/model.h", C, *([CPLUSPLUS] if shutil.which("c++") else []))


def test_an_ensemble_and_a_threshold(models: Models, tmp_path: Path) -> None:
    export("c", tmp_path / "out", models.sweep(), "--ensemble", "--threshold", "0.3", "--name", "churn")
    compile_strictly(tmp_path / "out/churn.h", C)


def test_names_and_texts_of_every_kind(tmp_path: Path) -> None:
    """Columns named as keywords, as each other or in other scripts; texts that C would read as escapes."""
    texts = ('a "quote"', "back\\slash", "??/", "*/ int x;", "größe")
    rows: list[dict[str, object]] = [
        {
            "int": number % 7,
            "a b": number % 11,
            "a-b": number % 5,
            "größe": texts[number % 5],
            "2nd": number % 3,
            "y": label,
        }
        for number, label in enumerate(("*/ no", '"yes" ??/') * 30)
    ]
    path = tables.write_csv(tmp_path / "names.csv", rows)
    settings = (*tables.of(path, target="y"), "model=logistic", *QUICK)
    run = running.train(tmp_path, *settings).path
    manifest = export("c", tmp_path / "out", run)
    fields = ["int_", "a_b", "a_b_2", "gr_e", "c_2nd"]
    assert list(manifest["fields"].values()) == fields
    compile_strictly(tmp_path / "out/model.h", C)
    header = (tmp_path / "out/model.h").read_text(encoding="ascii")
    assert "/* gr<U+00F6><U+00DF>e: " in header and '"gr<U+00F6><U+00DF>e"' in header


def test_it_refuses_a_day_that_there_is_not(models: Models, tmp_path: Path) -> None:
    export("c", tmp_path / "out", models.run("dates"))
    program = tmp_path / "out/main.c"
    program.write_text(
        '#include "model.h"\nint main(int count, char **days) { static struct model_input in; '
        "static struct model_output out; in.day = days[count - 1]; return model_predict(&in, &out); }\n"
    )
    built = tmp_path / "day"
    subprocess.run(["cc", "-x", "c", str(program), "-o", str(built), "-lm"], check=True)
    for day, code in {
        "2023-02-28": 0,
        "2023-02-29": 1,
        "2024-02-29": 0,
        "1900-02-29": 1,
        "2024-04-31": 1,
    }.items():
        assert subprocess.run([str(built), day]).returncode == code, day


def test_the_quantiles_of_the_normal_distribution() -> None:
    """Of the rational functions that C and ONNX use."""
    from scipy.special import ndtri

    shares = np.concatenate((np.linspace(1e-6, 1 - 1e-6, 999), [1e-12, 0.075, 0.925, 1e-5]))
    found = [_quantile(share) for share in shares]
    np.testing.assert_allclose(found, ndtri(shares), rtol=1e-13)


def _quantile(share: float) -> float:
    parts, q = normal_quantile.NORMAL_QUANTILE, share - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * float(np.polyval(parts["middle"], r) / np.polyval(parts["middle_by"], r))
    r = np.sqrt(-np.log(min(share, 1 - share)))
    kind, shift = ("near", 1.6) if r <= 5 else ("far", 5.0)
    found = np.polyval(parts[kind], r - shift) / np.polyval(parts[f"{kind}_by"], r - shift)
    return float(np.copysign(found, q))


def test_without_a_compiler(models: Models, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    run = models.run("line")
    monkeypatch.setenv("PATH", "/nowhere")
    said = refused("export", str(run), "--format", "c", "--output", "out", code=2)
    assert said == (
        "--format=c: no C compiler was found, which checks the header; install gcc or clang, or name one in "
        "the environment variable CC"
    )
