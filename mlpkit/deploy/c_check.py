"""Compiles an exported header, and runs it on the rows of the check."""

import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions
from mlpkit.deploy.portable import Portable
from mlpkit.errors import ConfigError, DataError

LONGEST = 4096  # bytes of a text

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "{name}.h"

static char texts[{fields}][{longest}];

static double number(void) {{
    double value;
    if (fread(&value, sizeof value, 1, stdin) != 1) exit(3);
    return value;
}}

static const char *text(int place) {{
    int length = (int)number();
    if (length < 0) return NULL;
    if (fread(texts[place], 1, (size_t)length, stdin) != (size_t)length) exit(3);
    texts[place][length] = 0;
    return texts[place];
}}

static void say(double value) {{
    fwrite(&value, sizeof value, 1, stdout);
}}

int main(void) {{
    static struct {name}_input in;
    static struct {name}_output out;
    int i, rows = (int)number();
    (void)text;
    while (rows-- > 0) {{
{read}
        say({name}_predict(&in, &out));
        for (i = 0; i < {labels}; i++) say({label});
        for (i = 0; i < {outputs}; i++) say(out.{field}[i]);
    }}
    return 0;
}}
"""


def _compiler() -> str | None:
    named = os.environ.get("CC", "").split()[:1]
    return next((found for name in (*named, "cc", "gcc", "clang") if (found := shutil.which(name))), None)


def check_compiler() -> None:
    """Check that there is a C compiler.

    Raises:
        ConfigError: there is none.
    """
    if _compiler() is None:
        raise ConfigError(
            "--format=c: no C compiler was found, which checks the header; install gcc or clang, or name one "
            "in the environment variable CC"
        )


def compile_and_run(
    model: Portable, name: str, folder: Path, fields: dict[str, str], rows: CheckRows
) -> FilePredictions:
    """Return what a header in a folder says of rows.

    Raises:
        DataError: it cannot be compiled, or refuses a row.
    """
    task, count = model.schema.task, len(model.names)
    labels = {"regression": 0, "multilabel": count}.get(task, 1)
    program = PROGRAM.format(
        name=name,
        fields=max(1, len(fields)),
        longest=LONGEST,
        read="\n".join(_reads(model, fields)),
        labels=labels,
        label="out.label[i]" if task == "multilabel" else "out.label" if labels else "0",
        outputs=count,
        field="probabilities" if labels else "value",
    )
    with tempfile.TemporaryDirectory(prefix="mlpkit-") as temporary:
        source, binary = Path(temporary, "main.c"), Path(temporary, "main")
        source.write_text(program, encoding="ascii")
        command = [str(_compiler()), "-std=c99", "-O1", f"-I{folder}", str(source), "-o", str(binary), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            said = next((line for line in lines if "error" in line), lines[0])
            raise DataError(f"the header cannot be compiled: {said}")
        ran = subprocess.run([binary], input=_packed(model, rows), capture_output=True)
    if ran.returncode != 0:
        raise DataError(f"the compiled header ends with code {ran.returncode}")
    found = np.frombuffer(ran.stdout).reshape(len(rows), 1 + labels + count)
    if len(bad := np.flatnonzero(found[:, 0])):
        raise DataError(f"row {bad[0] + 1} of the check: the header refuses it ({int(found[bad[0], 0])})")
    said_labels = found[:, 1 : 1 + labels].astype(np.int64)
    outputs = found[:, 1 + labels :]
    if labels == 0:
        return FilePredictions(outputs)
    return FilePredictions(outputs, said_labels if task == "multilabel" else said_labels[:, 0])


def _reads(model: Portable, fields: dict[str, str]) -> list[str]:
    """Return the C lines that read a row."""
    encoder = model.schema.encoder
    if not fields:
        return [f"        for (i = 0; i < {model.widths[0]}; i++) in.x[i] = (float)number();"]
    numbers = [True] * len(fields) if encoder is None else [spec.kind == "number" for spec in encoder.columns]
    return [
        f"        in.{field} = {'number()' if is_number else f'text({place})'};"
        for place, (field, is_number) in enumerate(zip(fields.values(), numbers, strict=True))
    ]


def _packed(model: Portable, rows: CheckRows) -> bytes:
    """Return the rows as the program reads them: doubles; a text is its length, -1 if missing, and bytes."""
    count = struct.pack("d", len(rows))
    if model.schema.encoder is None:
        return count + rows.features.astype(np.float64).tobytes()
    parts = [count]
    for values in zip(*(rows.columns[spec.column] for spec in model.schema.encoder.columns), strict=True):
        for spec, value in zip(model.schema.encoder.columns, values, strict=True):
            if spec.kind == "number":
                parts.append(struct.pack("d", np.nan if value is None else value))
                continue
            text = None if value is None else str(value).encode()[: LONGEST - 1]
            parts.append(struct.pack("d", -1 if text is None else len(text)) + (text or b""))
    return b"".join(parts)
