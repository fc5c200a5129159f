"""--format=c: one .h file that needs the standard library's math.h and string.h alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlpkit.deploy.c_check import check_compiler, compile_and_run
from mlpkit.deploy.c_code import functions
from mlpkit.deploy.c_encoder import encoder, field_names, input_fields
from mlpkit.deploy.c_text import as_comment, number_array, text_array
from mlpkit.deploy.check_rows import CheckRows
from mlpkit.deploy.format import FilePredictions, Format, Source
from mlpkit.deploy.portable import Portable
from mlpkit.system.atomic_write import atomic_write

HEAD = """/* {title}.

   int {name}_predict(const struct {name}_input *, struct {name}_output *) returns 0, the number of the first
   input whose value cannot be used (counted from 1), or -1 if the inputs are too large for the model.
   It uses static buffers, so one thread at a time may call it. Link with -lm. */
#ifndef {guard}_H
#define {guard}_H

#include <math.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {{
#endif

typedef {real} {name}_real;

struct {name}_input {{
{inputs}
}};

struct {name}_output {{
{outputs}
}};
"""

END = """
#ifdef __cplusplus
}
#endif

#endif
"""


class CFormat(Format):
    """A header file."""

    def check_runtime(self) -> None:
        """See `Format.check_runtime`: there must be a C compiler."""
        check_compiler()

    def write(self, source: Source, folder: Path) -> dict[str, Any]:
        """See `Format.write`."""
        model, name = source.portable("c"), source.name
        fields = field_names(model)
        body = [*encoder(model, name, fields), *_networks(model, name), _predict(model, name)]
        head = HEAD.format(
            title=as_comment(source.title),
            name=name,
            guard=name.upper(),
            real="double" if model.is_double else "float",
            inputs="\n".join(input_fields(model, fields)),
            outputs="\n".join(_output_fields(model)),
        )
        constants = [line for line in body if line.startswith("static const ")]
        code = "\n\n".join(part for part in body if not part.startswith("static const "))
        used = functions(code, name, model.is_double)
        missing = [text_array(f"{name}_missing", model.missing)] if f"{name}_missing" in used else []
        parts = [head, "\n".join([*missing, *constants]), used, code, END.lstrip()]
        atomic_write(folder / f"{name}.h", "\n".join(part for part in parts if part).encode("ascii"))
        about = {"fields": fields} if fields else {"fields": {"x": f"float[{model.widths[0]}]"}}
        return {"needs": ["C99 or C++11", "math.h", "string.h"], **about}

    def run(self, source: Source, folder: Path, rows: CheckRows) -> FilePredictions:
        """See `Format.run`."""
        model = source.portable("c")
        return compile_and_run(model, source.name, folder, field_names(model), rows)


def _output_fields(model: Portable) -> Iterator[str]:
    schema, count = model.schema, len(model.names)
    names = as_comment(", ".join(model.names[:20]) + (", ..." if count > 20 else ""))
    if schema.task == "regression":
        yield f"    double value[{count}]; /* {names} */"
    elif schema.task == "multilabel":
        yield f"    int label[{count}]; /* {names} */"
        yield f"    double probabilities[{count}];"
    else:
        yield f"    int label; /* 0 to {count - 1}: {names} */"
        yield "    const char *label_name;"
        yield f"    double probabilities[{count}];"


def _networks(model: Portable, name: str) -> Iterator[str]:
    """Yield the constants and the function of each member."""
    suffix, number = ("", "%.16e") if model.is_double else ("f", "%.8ef")
    features, width = model.widths
    for member, steps in enumerate(model.members):
        lines: list[str] = []
        here, other, size, most = "a", "b", features, features
        for place, step in enumerate(steps):
            prefix = f"{name}_{member}_{place}"
            arrays = []
            for title, array in step.arrays.items():
                yield number_array(f"{prefix}_{title}", array, f"{name}_real", number)
                arrays.append(f"{prefix}_{title}")
            if step.kind == "linear":
                outputs = len(step.arrays["bias"])
                lines.append(f"{name}_linear({', '.join(arrays)}, {size}, {outputs}, {here}, {other});")
                here, other, size = other, here, outputs
            elif step.kind == "periodic":
                count, added, waves = step.arrays["weight"].shape
                sizes = f"{count}, {waves}, {added}, {size}"
                lines.append(f"{name}_periodic({', '.join(arrays)}, {sizes}, {here});")
                size += count * added
            elif step.kind == "activation":
                lines += [] if step.name == "identity" else [f"{name}_{step.name}_layer({size}, {here});"]
            else:
                arrays += [f"{step.eps!r}{suffix}"] if step.kind == "layer_norm" else []
                arrays += [str(len(step.arrays["weight"]))] if step.kind == "prelu" else []
                lines.append(f"{name}_{step.kind}({', '.join([*arrays, str(size), here])});")
            most = max(most, size)
        lines.append(f"memcpy(out, {here}, {width} * sizeof *out);")
        loop = f"for (i = 0; i < {features}; i++) a[i] = x[i];"
        inner = "\n".join(
            f"    {line}" for line in (f"static {name}_real a[{most}], b[{most}];", "int i;", loop, *lines)
        )
        yield f"static inline void {name}_member_{member}(const float *x, {name}_real *out) {{\n{inner}\n}}"


def _predict(model: Portable, name: str) -> str:
    """Return the function that is called."""
    task, (features, width), members = model.schema.task, model.widths, len(model.members)
    count = len(model.names)
    field = "value" if task == "regression" else "probabilities"
    classes = model.schema.classes
    add: list[str] = []
    for member in range(members):
        add.append(f"{name}_member_{member}(x, y);")
        if task == "binary":
            add.append(f"out->probabilities[0] += {name}_sigmoid(-y[0]);")
            add.append(f"out->probabilities[1] += {name}_sigmoid(y[0]);")
            continue
        add += [f"{name}_softmax({width}, y);"] if task == "multiclass" else []
        term = f"{name}_sigmoid(y[i])" if task == "multilabel" else "y[i]"
        add.append(f"for (i = 0; i < {width}; i++) out->{field}[i] += {term};")
    divide = f"out->{field}[i] /= {members}.0;" if members > 1 else ""
    labels = {
        "binary": [f"out->label = out->probabilities[1] > {model.threshold!r};"],
        "multiclass": [
            "out->label = 0;",
            f"for (i = 1; i < {count}; i++)",
            "    if (out->probabilities[i] > out->probabilities[out->label]) out->label = i;",
        ],
        "multilabel": [
            f"for (i = 0; i < {count}; i++) out->label[i] = out->probabilities[i] > {model.threshold!r};"
        ],
    }.get(task, [])
    lines = [
        *([text_array("names", classes)] if classes else []),
        f"static float x[{features}];",
        f"{name}_real y[{width}];",
        f"int i, refused = {name}_encode(in, x);",
        "if (refused) return refused;",
        f"for (i = 0; i < {count}; i++) out->{field}[i] = 0.0;",
        *add,
        f"for (i = 0; i < {count}; i++) {{",
        *([f"    {divide}"] if divide else []),
        f"    if (!(fabs(out->{field}[i]) <= 1e300)) return -1;",
        "}",
        *labels,
        *(["out->label_name = names[out->label];"] if classes else []),
        "return 0;",
    ]
    inner = "\n".join(f"    {line}" for line in lines)
    head = f"static inline int {name}_predict(const struct {name}_input *in, struct {name}_output *out)"
    return f"{head} {{\n{inner}\n}}"


FORMAT = CFormat()
