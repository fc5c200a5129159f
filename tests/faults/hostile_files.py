"""Checkpoints and run folders as an attacker would make them: 300 and more, always the same.

Each begins as a copy of a harmless run folder. Where a checkpoint is forged its SHA-256 is right, so
that the checks behind it are reached.
"""

import copy
import gzip
import hashlib
import json
import os
import pickle
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from mlpkit.folders.header import KEY
from mlpkit.folders.run_folder import RunFolder
from mlpkit.system.tensor_file import LARGEST_HEADER, TensorFile

CANARIES = ("mlpkit_canary", "antigravity")  # modules that nothing may import

PREDICT = ("predict", "RUN", "--checkpoint", "last", "--values", "0.3,0.5")
SPLIT = ("predict", "RUN", "--split", "test")
EVALUATE = ("evaluate", "RUN", "--checkpoint", "last")
INSPECT = ("inspect", "RUN", "--checkpoint", "last")
INSPECT_BEST = ("inspect", "RUN")
PLOT = ("plot", "RUN", "--checkpoint", "last")
RESUME = ("resume", "RUN")
ALL = (PREDICT, EVALUATE, INSPECT, INSPECT_BEST, PLOT, RESUME)
READING = (PREDICT, SPLIT, EVALUATE, INSPECT)

REFUSED = (65,)

Command = tuple[str, ...]
Change = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A hostile run folder.

    Attributes:
        name: what is wrong.
        change: makes a copy of the harmless folder hostile.
        commands: that open it.
        codes: exit codes that are right; empty means any that mlpkit has for such things.
        folder: the folder's name.
    """

    name: str
    change: Change
    commands: tuple[Command, ...] = ALL
    codes: tuple[int, ...] = ()
    folder: str = "run"


# ------------------------------------------------------------------------------- forging a checkpoint

NAMES = {"F32": "torch.float32", "F64": "torch.float64", "I64": "torch.int64"}


@dataclass
class Forged:
    """What a checkpoint says, free to be changed.

    Attributes:
        parts: of its header, as JSON values.
        tensors: kind, shape and bytes by name.
    """

    parts: dict[str, Any]
    tensors: dict[str, tuple[str, tuple[int, ...], bytes]]

    def content(self) -> bytes:
        """Return a file whose SHA-256 is right."""
        digest = hashlib.sha256(json.dumps({**self.parts, "sha256": ""}).encode())
        for name, (kind, shape, content) in sorted(self.tensors.items()):
            head = f"{name}\0{NAMES[kind]}\0{list(shape)}\0".encode("utf-8", "surrogatepass")
            digest.update(head + content)
        text = json.dumps({**self.parts, "sha256": digest.hexdigest()})
        header: dict[str, Any] = {"__metadata__": {KEY: text}}
        body = b""
        for name, (kind, shape, content) in self.tensors.items():
            place = len(body), len(body) + len(content)
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": place}
            body += content
        return raw(json.dumps(header).encode(), body)


def read(path: Path) -> Forged:
    with TensorFile(path) as file:
        parts = json.loads(file.metadata[KEY])
        tensors = {
            name: (entry.kind, entry.shape, file.read(name).tobytes()) for name, entry in file.entries.items()
        }
    return Forged(parts, tensors)


def put(run: Path, content: bytes) -> None:
    """Make it the content of all checkpoints of the run."""
    folder = RunFolder(run)
    for path in folder.older():
        path.unlink()
    folder.last.write_bytes(content)
    folder.best.write_bytes(content)


def forge(change: Callable[[Forged], object]) -> Change:
    """Return what replaces the run's checkpoints by a forged one; config.yaml says the same."""

    def change_run(run: Path) -> None:
        forged = read(RunFolder(run).last)
        before = copy.deepcopy(forged.parts["config"])
        change(forged)
        put(run, forged.content())
        if forged.parts.get("config") != before:
            try:
                text = yaml.safe_dump(forged.parts["config"], sort_keys=False)
            except RecursionError:
                text = json.dumps(forged.parts["config"])
            RunFolder(run).config.write_text(text.replace("epochs: 3", "epochs: 4"), errors="replace")

    return change_run


def setting(part: str, key: str, value: object) -> Change:
    """Return what sets a key of a part of the header; an empty key is the whole part."""

    def change(forged: Forged) -> None:
        if not key:
            forged.parts[part] = value
            return
        *above, last = key.split("/")
        node = forged.parts[part]
        for name in above:
            node = node[name]
        node[last] = value

    return forge(change)


def raw(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


# -------------------------------------------------------------------------------------- hostile values


class Command_:  # noqa: N801 - what a pickle runs
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch imported",)


class Import_:  # noqa: N801
    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("mlpkit_canary",)


def deep(levels: int, value: Any = 0) -> Any:
    for _ in range(levels):
        value = [value]
    return value


HUGE = 10**400
NAN, INFINITY = float("nan"), float("inf")
ESCAPE, MARKUP, LINK = "\x1b[31mred\x1b[0m\x07", "[red]red[/red]", "[link=file:///etc/passwd]x[/link]"
CLOSING, MATHS, TURNED, HALF = "[/]", r"$\frac{1}{", "\u202eabc\u202c", "\ud800"
LONG, LINES = "a" * 100_000, "a\nmlpkit: all is well\r"
TEXTS = (ESCAPE, MARKUP, LINK, CLOSING, MATHS, TURNED, HALF, LONG, LINES, "", "\0", "../../outside/file.json")
TARGET = {"_target_": "mlpkit_canary.run", "_args_": ["x"]}
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**53 - 1, 2**63, HUGE, 0.5, NAN, INFINITY, -0.0, 1e308),
    *TEXTS,
    *([], {}, [HALF], {ESCAPE: 1}, deep(200), deep(900), TARGET, "${oc.env:HOME}"),
    *("${oc.decode:'[1,2]'}", "/dev/zero", "!!python/object:os.system", ["x"] * 1000),
)


def short(value: object) -> str:
    return ascii(value)[:40]


# ------------------------------------------------------------------------------------ the kinds of cases


def all_cases() -> list[Case]:
    """Return all cases; their order mixes the kinds, so that each part of it has some of all."""
    kinds = [
        list(make())
        for make in (
            no_checkpoints,
            bad_headers,
            odd_files,
            configs,
            signatures,
            records,
            tensors,
            files_of_a_run,
            folders_of_a_run,
            lines_of_metrics,
            json_files,
            config_files,
            folder_names,
            mutants,
        )
    ]
    cases = [case for kind in kinds for case in kind]
    random.Random(9).shuffle(cases)
    assert len({case.name for case in cases}) == len(cases)
    return cases


def no_checkpoints() -> Iterator[Case]:
    contents = {f"pickle {n}": pickle.dumps(Command_(), protocol=n) for n in range(6)}
    contents |= {f"pickle {n} of an import": pickle.dumps(Import_(), protocol=n) for n in (0, 4)}
    contents["pickle of exec"] = b"cbuiltins\nexec\n(S'import mlpkit_canary'\ntR."
    contents["a program"] = b"\x7fELF" + bytes(1000)
    contents["a script"] = b"#!/bin/sh\ntouch imported\n"
    contents["gzip bomb"] = gzip.compress(bytes(10**7))
    contents["nothing"] = b""
    contents["zip"] = b"PK\x03\x04" + bytes(200)
    contents["marshalled code"] = b"\xe3" + bytes(200)
    for name, content in contents.items():
        yield Case(name, lambda run, content=content: put(run, content), codes=REFUSED)
    for name, new in (("torch zip", True), ("torch pickle", False)):

        def save(run: Path, new: bool = new) -> None:
            put(run, b"")
            for path in (RunFolder(run).last, RunFolder(run).best):
                torch.save({"model": Command_()}, path, _use_new_zipfile_serialization=new)

        yield Case(name, save, codes=REFUSED)


def bad_headers() -> Iterator[Case]:
    for length in (0, 1, 2**24, 2**24 + 1, 10 * 2**30, 2**63, 2**64 - 1):
        content = raw(b'{"__metadata__":{}}', length=length)
        yield Case(f"header of {length} bytes", lambda run, content=content: put(run, content), codes=REFUSED)
    size = LARGEST_HEADER
    headers = {
        "16 MB of nested lists": b"[" * 2**24,
        "16 MB of empty lists": b"[" + b"[]," * 2**22 + b"[]]",
        "nested lists": b"[" * size,
        "nested mappings": b'{"a":' * (size // 5),
        "deep and closed": b"[" * 900 + b"]" * 900,
        "empty lists": b"[" + b"[]," * ((size - 8) // 3) + b"[]]",
        "lists of one": b"[" + b"[0]," * ((size - 8) // 4) + b"0]",
        "empty mappings": b'{"a":[' + b"{}," * ((size - 16) // 3) + b"{}]}",
        "numbers": b"[" + b"1," * ((size - 8) // 2) + b"1]",
        "one long number": b"1" * size,
        "one long text": b'"' + b"a" * (size - 2) + b'"',
        "many keys": b"{" + b",".join(b'"%d":0' % n for n in range(size // 12)) + b"}",
        "many entries": b'{"__metadata__":{},'
        + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(size // 60))
        + b"}",
        "many notes": b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(size // 14)) + b"}}",
        "NaN": b'{"__metadata__":NaN}',
        "bytes that are no text": b'{"__metadata__":{"format":"\xff\xfe"}}',
        "UTF-16": '{"__metadata__":{}}'.encode("utf-16"),
    }
    for name, header in headers.items():
        yield Case(f"header of {name}", lambda run, h=header: put(run, raw(h)), codes=REFUSED)
    places: tuple[object, ...] = (
        *([0, 15], [1, 17], [-16, 0], [16, 0], [0, 2**63], [2**63, 2**63 + 16], [0.0, 16.0], [False, 16]),
        *(["0", "16"], None, [0], [0, 16, 16], {}, "016", [0, HUGE], [NAN, 16], [0, 10 * 2**30]),
    )
    for place in places:
        yield Case(f"offsets {short(place)}", entry("data_offsets", place), codes=REFUSED)
    shapes = (
        [-4, -2],
        [2**40, 2**40],
        [2, 2, 1],
        [[4], [2]],
        [4.0, 2.0],
        "42",
        None,
        [True, 8],
        [HUGE],
        [4, 2, 0],
    )
    for shape in shapes:
        yield Case(f"shape {short(shape)}", entry("shape", shape), codes=REFUSED)
    for kind in ("F16", "<f4", "O", "mlpkit_canary", ["F32"], {"a": 1}, None, 4, ESCAPE):
        yield Case(f"dtype {short(kind)}", entry("dtype", kind), codes=REFUSED)
    yield Case("an entry with more keys", entry("more", 1), codes=REFUSED)
    for value in (None, 1, [], {"a": "b"}, deep(500), HALF, LONG):
        yield Case(f"metadata {short(value)}", note(value), codes=REFUSED)
    yield Case("a name that appears twice", twice("model/layers.0.weight"), codes=REFUSED)
    yield Case("metadata that stand twice", twice("__metadata__"), codes=REFUSED)


def header_of(run: Path) -> tuple[dict[str, Any], bytes]:
    content = RunFolder(run).last.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def entry(key: str, value: object) -> Change:
    def change(run: Path) -> None:
        header, body = header_of(run)
        header["model/layers.0.weight"][key] = value
        put(run, raw(json.dumps(header).encode(), body))

    return change


def note(value: object) -> Change:
    def change(run: Path) -> None:
        header, body = header_of(run)
        header["__metadata__"][KEY] = value
        put(run, raw(json.dumps(header).encode(), body))

    return change


def twice(name: str) -> Change:
    def change(run: Path) -> None:
        header, body = header_of(run)
        first = {"__metadata__": {}} if name == "__metadata__" else {name: header[name]}
        text = json.dumps(first)[:-1] + "," + json.dumps(header)[1:]
        if name != "__metadata__":  # the last one counts; it must not be the good one
            text = text[:-1] + f',{json.dumps(name)}:{{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}}}'
        else:
            text = text[:-1] + ',"__metadata__":{}}'
        put(run, raw(text.encode(), body))

    return change


def odd_files() -> Iterator[Case]:
    def replaced(make: Callable[[Path], object]) -> Change:
        def change(run: Path) -> None:
            put(run, b"")
            for path in (RunFolder(run).last, RunFolder(run).best):
                path.unlink()
                make(path)

        return change

    def bind(path: Path) -> None:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's name has at most 107 bytes
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path.name)
        finally:
            os.chdir(here)

    makers: dict[str, Callable[[Path], object]] = {
        "a pipe": os.mkfifo,
        "a folder": Path.mkdir,
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to /dev/stdin": lambda path: path.symlink_to("/dev/stdin"),
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to a text": lambda path: path.symlink_to("/etc/passwd"),
        "a socket": bind,
    }
    for name, make in makers.items():
        yield Case(f"checkpoint is {name}", replaced(make))
    for name in ("model/layers.9.weight", "epoch/losses"):
        yield Case(f"10 GB of holes as {name}", holes(name), codes=REFUSED)
    yield Case("10 GB of holes as a running epoch", holes("epoch/losses", "epoch/outputs"), codes=REFUSED)
    yield Case("10 GB of holes behind the tensors", holes(), codes=REFUSED)


def holes(*names: str) -> Change:
    """Return what adds tensors of 10 GB together, of which nothing lies on the disk."""

    def change(run: Path) -> None:
        header, body = header_of(run)
        end, rows = len(body), 5 * 2**28 * 2 // max(len(names), 1)
        for name in names:
            shape = [rows, 1] if name == "epoch/outputs" else [rows]
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 4 * rows]}
            end += 4 * rows
        content = raw(json.dumps(header).encode(), body)
        put(run, content)
        for path in (RunFolder(run).last, RunFolder(run).best):
            with path.open("r+b") as stream:
                stream.truncate(len(content) + 10 * 2**30)

    return change


def configs() -> Iterator[Case]:
    settings: list[tuple[str, object]] = [
        *[
            ("model/hidden", widths)
            for widths in ([65536] * 100, [5000, 5001], [65536] * 101, [1] * 100, [0])
        ],
        *[("model/hidden", value) for value in (HUGE, [HUGE], [NAN], "[4]", TARGET, [[4]], deep(400))],
        *[("model/name", text) for text in ("mlpkit_canary", ESCAPE, LONG, TARGET, None)],
        *[("model/activation", text) for text in ("mlpkit_canary.run", "__import__('os')", HALF)],
        *[("model/_target_", "mlpkit_canary.run"), ("_target_", "mlpkit_canary.run"), ("_convert_", "all")],
        *[(key, "${oc.env:HOME}") for key in ("run/root", "dataset/name", "run/name")],
        *[(key, "${oc.decode:'1'}") for key in ("seed", "model/activation", "run/dir")],
        *[("seed", "${seed}"), ("run/root", "${run.root}"), ("run/root", "???"), ("hydra", {"run": {}})],
        *[("format", value) for value in (4, HUGE, True, -1, "3", 1.0)],
        *[("optimizer/lr", value) for value in (NAN, INFINITY, HUGE, -1, "1", 1e308)],
        *[("dataset/n", value) for value in (10**7, 10**8, HUGE, 1, 2)],
        *[("device", text) for text in ("cuda:999", "meta", "mlpkit_canary", "cuda:0\x1b")],
        *[("trainer/threads", 1024), ("trainer/threads", 10**9), ("trainer/precision", "float64")],
        *[("trainer/keep_last", 10**6), ("trainer/log_every", 10**9), ("trainer/accumulate", 10**6)],
        *[("run/root", text) for text in ("/", "\0", "~nobody/x", LONG, ESCAPE)],
        *[("run/dir", "/etc"), ("run/name", ESCAPE), (ESCAPE, 1), (LONG, 1), (HALF, 1), ("run", deep(600))],
        *[
            ("scheduler", {"name": "exponential", "gamma": 1e308}),
            ("scheduler", TARGET),
            ("", []),
            ("", None),
        ],
        *[("trainer/checkpoint_every", "1" * 10**5 + "steps"), ("trainer/batch_size", 1)],
    ]
    for number, (key, value) in enumerate(settings):
        name = f"config {number}: {short(key)}={short(value)}"
        yield Case(name, setting("config", key, value), (*READING, INSPECT_BEST, PLOT, RESUME))
    image = {"standardize": False, "val_fraction": 0.1, "mean": 0.0, "std": 1.0, "seed": 0}
    for root in ("/", "/dev/zero", "PIPE", "RUN", "\0", "~nobody", LONG, ESCAPE, "", "/proc/self/root"):
        for name in ("mnist", "fashion_mnist"):
            dataset = {"name": name, "root": root, "download": True, **image}
            yield Case(f"{name} with root={short(root)}", images(dataset))


def images(dataset: dict[str, Any]) -> Change:
    """Return what turns the run into one on images, whose files are named by the dataset's root."""

    def change(run: Path) -> None:
        for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
            os.mkfifo(run / name)
        (run / "t10k-labels-idx1-ubyte").symlink_to("/dev/zero")
        chosen = {
            **dataset,
            "root": {"PIPE": str(run), "RUN": str(run)}.get(dataset["root"], dataset["root"]),
        }

        def as_images(forged: Forged) -> None:
            forged.parts["config"] |= {"dataset": chosen, "model": {"name": "logistic", "bias": True}}
            forged.parts["signature"] = {
                "task": "multiclass",
                "features": [f"pixel{n}" for n in range(784)],
                "input_shape": [28, 28],
                "targets": ["label"],
                "classes": [str(n) for n in range(10)],
            }
            forged.tensors = {
                "model/layers.0.weight": ("F32", (10, 784), bytes(4 * 7840)),
                "model/layers.0.bias": ("F32", (10,), bytes(40)),
            }

        forge(as_images)(run)
        if dataset["root"] == "PIPE":
            for path in run.glob("*-ubyte"):
                path.unlink()
            os.mkfifo(run / "MNIST")
            os.mkfifo(run / "FashionMNIST")

    return lambda run: change(run)


def signatures() -> Iterator[Case]:
    for text in TEXTS:
        for key in ("features", "classes", "targets"):
            names = {"features": [text, "x2"], "classes": [text, "lower"], "targets": [text]}[key]
            yield Case(f"{key} named {short(text)}", setting("signature", key, names))
    many = [f"x{n}" for n in range(100_000)]
    changes: dict[str, object] = {
        "many features": {"features": many, "input_shape": [100_000]},
        "many classes": {"task": "multiclass", "classes": many},
        "many targets": {"task": "regression", "classes": [], "targets": many},
        "another shape": {"input_shape": [3]},
        "a shape of an image": {"input_shape": [2, 1]},
        "a shape without an end": {"input_shape": [1000, 1000]},
        "a negative shape": {"input_shape": [-1, -2]},
        "a shape of numbers": {"input_shape": [2.0]},
        "a huge shape": {"input_shape": [HUGE]},
        "a shape of text": {"input_shape": "2"},
        "features twice": {"features": ["x1", "x1"]},
        "no features": {"features": [], "input_shape": [0]},
        "text as features": {"features": "x1"},
        "a mapping of features": {"features": {"x1": 1, "x2": 2}},
        "one class": {"classes": ["upper"]},
        "three classes": {"classes": ["a", "b", "c"]},
        "another task": {"task": "regression"},
        "regression": {"task": "regression", "classes": []},
        "an unknown task": {"task": "mlpkit_canary"},
        "a longer list": {"_target_": "mlpkit_canary.run"},
    }
    for name, change in changes.items():

        def change_signature(forged: Forged, change: Any = change) -> None:
            forged.parts["signature"] |= change

        yield Case(f"signature with {name}", forge(change_signature))


def records() -> Iterator[Case]:
    progress: list[tuple[str, object]] = [
        *[(key, 2**53 - 1) for key in ("epoch", "step", "batch", "best_epoch", "best_step", "stale_epochs")],
        *[("epoch", value) for value in (-1, 2**53, HUGE, True, 1.0, "3", None)],
        *[("batch", value) for value in (1, 3, 4, 10**9)],
        *[("lr", value) for value in (NAN, INFINITY, HUGE, -1.0, 1e308, "x")],
        *[("best_value", value) for value in (NAN, None, HUGE, 1e308)],
        *[("best_loss", None), ("stopping_value", 1e308), ("best_epoch", 3), ("best_step", 9), ("more", 1)],
        *[("best_scores", value) for value in ({ESCAPE: {ESCAPE: 1.0}}, {"val": {"loss": NAN}}, deep(500))],
        *[("plateau", value) for value in ({}, None, {"multiplier": NAN}, {"best": HUGE}, {"cooldown": -1})],
        *[("", {}), ("", None), ("", deep(900)), ("step", int("9" * 4000))],
    ]
    for number, (key, value) in enumerate(progress):
        name = f"progress {number}: {key}={short(value)}"
        yield Case(name, setting("progress", key, value), (PREDICT, INSPECT, RESUME))
    scores: tuple[object, ...] = (
        *({ESCAPE: {"loss": 1.0}}, {"val": {ESCAPE: 1.0}}, {CLOSING: {CLOSING: 1.0}}, {MARKUP: {LINK: 0.5}}),
        *({"train": {"loss": 1.0}, "val": {"accuracy": 1.0}}, {"val": {}}, {"train": {}, "val": {"a": 1.0}}),
        *(
            {"val": {"loss": NAN}},
            {"val": {"loss": INFINITY}},
            {"val": {"loss": HUGE}},
            {"val": {"loss": "x"}},
        ),
        *({LONG: {"loss": 1.0}}, {"val": {LONG: 1.0}}, {"val": {f"a{n}": 1.0 for n in range(10_000)}}),
        *({f"s{n}": {"loss": 1.0} for n in range(10_000)}, {"val": {LINES: 1.0}}, {"val": {"loss": True}}),
        *([], None, 1, deep(900), {"val": {"epoch": 1.0, "split": 2.0}}, {HALF: {"loss": 1.0}}),
    )
    for number, value in enumerate(scores):
        name = f"scores {number}: {short(value)}"
        yield Case(name, setting("scores", "", value), (INSPECT, INSPECT_BEST, RESUME))
    for value in (ESCAPE, LONG * 10, 1, None, HALF, "", LINES):
        yield Case(f"fingerprint {short(value)}", setting("fingerprint", "", value), (INSPECT, RESUME))


def tensors() -> Iterator[Case]:
    weights = {"NaN": NAN, "infinity": INFINITY, "huge": 3e38, "zero": 0.0, "tiny": 1e-45}
    for name, value in weights.items():
        for tensor in ("model/layers.0.weight", "model/layers.2.bias"):
            yield Case(f"{tensor} of {name}", filled(tensor, value), (*ALL, SPLIT))
    slot = "optimizer/layers.0.weight"
    for name, value in {"NaN": NAN, "infinity": INFINITY, "negative": -1.0, "huge": 3e38}.items():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            yield Case(f"{key} of {name}", filled(f"{slot}/{key}", value), (PREDICT, RESUME))
    best = "best/layers.0.weight"
    wide = ("F64", (4, 2), struct.pack("<8d", *range(8)))
    added = {
        "optimizer/layers.0.weight/mlpkit_canary": ("F32", (), bytes(4)),
        "optimizer/nothing/step": ("F32", (), bytes(4)),
        "model/": ("F32", (), bytes(4)),
        "model/../x": ("F32", (), bytes(4)),
        "model/__class__": ("F32", (), bytes(4)),
        "mlpkit_canary": ("F32", (), bytes(4)),
        ESCAPE: ("F32", (), bytes(4)),
        "model/" + LONG: ("F32", (), bytes(4)),
        "epoch/" + LINES: ("F32", (), bytes(4)),
        "epoch/gradient_norm": ("I64", (), bytes(8)),
        "epoch/losses": ("F32", (), bytes(4)),
        "epoch/rows": ("I64", (2,), bytes(16)),
        "best/x": ("F32", (), bytes(4)),
        HALF: ("F32", (), bytes(4)),
    }
    for name, value in added.items():
        yield Case(f"a tensor more: {short(name)}", adding({name: value}), codes=REFUSED)
    yield Case("one weight in float64", adding({"model/layers.0.weight": wide}))
    yield Case("one bias in float64", adding({"model/layers.2.bias": ("F64", (1,), bytes(8))}))
    yield Case("one best weight in float64", adding({best: wide}))
    yield Case("one average in float64", adding({f"{slot}/exp_avg": wide}), (PREDICT, RESUME))
    yield Case("one step in float64", adding({f"{slot}/step": ("F64", (), bytes(8))}), (PREDICT, RESUME))
    yield Case("one weight of integers", adding({"model/layers.2.bias": ("I64", (1,), bytes(8))}))
    for name in ("model/layers.0.weight", f"{slot}/step", best):
        yield Case(f"without {name}", without(name), (PREDICT, INSPECT, RESUME))
    yield Case("without an optimizer", without("optimizer/"), (PREDICT, INSPECT, RESUME))
    yield Case("without tensors", without(""), (PREDICT, INSPECT, RESUME), REFUSED)
    for name, row in {"far": 10**12, "negative": -(10**12), "the last": -1, "the smallest": -(2**63)}.items():
        yield Case(f"a running epoch with rows that are {name}", running([row] * 12), (PREDICT, RESUME))
    yield Case("a running epoch with one row only", running([3] * 12), (PREDICT, RESUME))
    yield Case("a running epoch in float64", running(list(range(12)), "F64"), (PREDICT, RESUME))
    yield Case("a running epoch without rows", running(None), (PREDICT, RESUME))
    yield Case("a running epoch of NaN", running(list(range(12)), fill=NAN), (PREDICT, RESUME))
    yield Case("a running epoch of 5 rows", running(list(range(5))), (PREDICT, RESUME))


def filled(name: str, value: float) -> Change:
    def change(forged: Forged) -> None:
        kind, shape, content = forged.tensors[name]
        forged.tensors[name] = (kind, shape, struct.pack("<f", value) * (len(content) // 4))

    return forge(change)


def adding(more: dict[str, tuple[str, tuple[int, ...], bytes]]) -> Change:
    return forge(lambda forged: forged.tensors.update(more))


def without(start: str) -> Change:
    def change(forged: Forged) -> None:
        forged.tensors = {name: t for name, t in forged.tensors.items() if not name.startswith(start)}

    return forge(change)


def running(rows: list[int] | None, kind: str = "F32", fill: float = 0.5) -> Change:
    """Return what turns back the last checkpoint into one within an epoch: one step of 12 rows is taken."""

    def change(forged: Forged) -> None:
        progress = forged.parts["progress"]
        progress["batch"], progress["step"] = 1, progress["step"] + 1
        count = 12 if rows is None else len(rows)
        content = struct.pack("<f" if kind == "F32" else "<d", fill) * count
        forged.tensors["epoch/losses"] = (kind, (count,), content)
        forged.tensors["epoch/outputs"] = (kind, (count, 1), content)
        if rows is not None:
            forged.tensors["epoch/rows"] = ("I64", (count,), struct.pack(f"<{count}q", *rows))
        if progress["best_step"] == progress["step"] - 1:
            forged.tensors |= {
                name.replace("model/", "best/", 1): tensor
                for name, tensor in forged.tensors.items()
                if name.startswith("model/")
            }

    return forge(change)


FILES = (
    *("config.yaml", "command.txt", "environment.json", "metrics.jsonl", "summary.json", "train.log"),
    *("overrides.yaml", ".lock"),
)


def files_of_a_run() -> Iterator[Case]:
    makers: dict[str, Callable[[Path], object]] = {
        "a link outside": lambda path: path.symlink_to("../../outside/file.json"),
        "a link to a new file outside": lambda path: path.symlink_to("../../outside/new"),
        "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a pipe": os.mkfifo,
        "a folder": Path.mkdir,
        "50 MB of zeros": lambda path: path.write_bytes(bytes(50_000_000)),
        "50 MB of lines": lambda path: path.write_bytes(b'{"a": 1}\n' * 5_555_555),
        "nested lists": lambda path: path.write_text("[" * 10**5),
        "escapes": lambda path: path.write_text(ESCAPE * 1000),
    }
    for name in FILES:
        for what, make in makers.items():

            def change(run: Path, name: str = name, make: Any = make) -> None:
                (run / name).unlink(missing_ok=True)
                make(run / name)

            yield Case(f"{name} is {what}", change, (INSPECT, PLOT, RESUME))


def folders_of_a_run() -> Iterator[Case]:
    def replaced(name: str, make: Callable[[Path], object]) -> Change:
        def change(run: Path) -> None:
            path, aside = run / name, run / f"{name}.aside"
            if path.is_dir():
                path.rename(aside)
            make(path)

        return change

    makers: dict[str, Callable[[Path], object]] = {
        "a link outside": lambda path: path.symlink_to("../../outside/folder"),
        "a link aside": lambda path: path.symlink_to(f"{path.name}.aside"),
        "a link to nothing": lambda path: path.symlink_to("../../outside/new"),
        "a file": Path.touch,
        "a pipe": os.mkfifo,
    }
    for name in ("checkpoints", "tensorboard", "plots"):
        for what, make in makers.items():
            yield Case(f"{name} is {what}", replaced(name, make), (PREDICT, INSPECT, PLOT, RESUME))

    def made(name: str, make: Callable[[Path], object]) -> Change:
        def change(run: Path) -> None:
            path = run / name
            path.parent.mkdir(exist_ok=True)
            path.unlink(missing_ok=True)
            make(path)

        return change

    picture = "plots/curves.png"
    outside = lambda path: path.symlink_to("../../../outside/folder/curves.png")  # noqa: E731
    beside = lambda path: path.symlink_to("../../outside/file.json")  # noqa: E731
    for name, make in {
        picture: outside,
        "plots/.curves.png.x.tmp": outside,
        ".config.yaml.x.tmp": beside,
        ".x.tmp": Path.mkdir,
        "checkpoints/step-000000001.safetensors": Path.mkdir,
        "checkpoints/step-000000002.safetensors": os.mkfifo,
        "checkpoints/step-000000003.safetensors": outside,
        "checkpoints/step-999999999999999999.safetensors": Path.touch,
        "checkpoints/.last.safetensors.x.tmp": outside,
        "checkpoints/best.safetensors": outside,
        "checkpoints/last.safetensors": outside,
        "tensorboard/events.out.tfevents.999999999999999999.x": Path.touch,
        "tensorboard/events.out.tfevents.0.x": outside,
    }.items():
        yield Case(f"{name} is odd", made(name, make))


def lines_of_metrics() -> Iterator[Case]:
    good = {"epoch": 1, "step": 3, "split": "train", "loss": 0.5, "accuracy": 0.5, "lr": 0.3}
    good |= {"grad_norm": 1.0, "seconds": 0.1}
    changes: list[dict[str, Any]] = [
        *[{"epoch": value} for value in (HUGE, -1, True, 1.5, None, "1", 2**53, 2**63, NAN)],
        *[{"step": value} for value in (HUGE, -1, 2**63, 2**62, None)],
        *[{"seconds": value} for value in (HUGE, NAN, INFINITY, -1e308, None, "x", 1e308)],
        *[{"loss": value} for value in (HUGE, NAN, INFINITY, None, "x", [1], 1e308, -1e308, 1e-320, 1e199)],
        *[{"accuracy": value} for value in (HUGE, NAN, 1e308)],
        *[{"lr": value} for value in (HUGE, NAN, 1e308, None)],
        *[{"grad_norm": HUGE}, {"split": ESCAPE}, {"split": None}, {"split": "test"}, {"r2": -1e308}],
        *[{ESCAPE: 1}, {MATHS: 1}, {LONG: 1}, {"é": 1}, {"__class__": 1}],
    ]
    for number, change in enumerate(changes):
        # Both splits say so at both epochs that the run has had, or at the last.
        lines = [
            json.dumps({**good, "epoch": epoch, "step": 3 * epoch, "split": split, **change})
            for epoch in (1, 2, 3)
            for split in ("train", "val")
        ]
        text = "\n".join(lines if number % 2 else [*(lines_of_good(good)), *lines[-2:]]) + "\n"

        def write(run: Path, text: str = text) -> None:
            RunFolder(run).metrics.write_text(text)

        yield Case(f"metrics {number}: {short(change)}", write, (PLOT, RESUME))
    for name, text in {
        "no end": json.dumps(good),
        "nothing": "",
        "empty lines": "\n" * 10**6,
        "one long line": json.dumps({**good, "loss": 0.5}).replace("0.5", "0." + "5" * 10**6),
        "bytes": "\x00\x01\x02",
        "a hundred thousand epochs": "".join(
            json.dumps({**good, "epoch": n, "step": n}) + "\n" for n in range(1, 100_000)
        ),
    }.items():
        yield Case(
            f"metrics of {name}",
            lambda run, text=text: RunFolder(run).metrics.write_text(text),
            (PLOT, RESUME),
        )


def lines_of_good(good: dict[str, Any]) -> list[str]:
    return [
        json.dumps({**good, "epoch": n, "step": 3 * n, "split": s}) for n in (1, 2) for s in ("train", "val")
    ]


def json_files() -> Iterator[Case]:
    environments: list[dict[str, Any]] = [
        *[{"device": ESCAPE}, {"device_name": LONG}, {"versions": ESCAPE}, {"versions": {"torch": ESCAPE}}],
        *[{"threads": deep(600)}, {"git_commit": deep(600)}, {"git_commit": ESCAPE}, {"git_commit": HUGE}],
        *[{"git_commit": TARGET}, {"versions": {"torch": HALF}}, {"device": MARKUP}, {"device": NAN}, {}],
    ]
    for number, change in enumerate(environments):

        def write(run: Path, change: dict[str, Any] = change) -> None:
            path = RunFolder(run).environment
            path.write_text(json.dumps({**json.loads(path.read_text()), **change} if change else {}))

        yield Case(f"environment {number}: {short(change)}", write, (RESUME, (*RESUME, "--strict")))
    summaries: list[dict[str, Any]] = [
        *[{"best": value} for value in (None, [], {}, 1, {"step": 9}, {"step": "9"}, deep(600))],
        *[{"best/val": value} for value in ({ESCAPE: 1.0}, {"loss": NAN}, {"loss": HUGE}, {LONG: 1.0})],
        *[{"best/val": value} for value in ({CLOSING: 1.0}, {"loss": None}, {"acc": 0.5}, ESCAPE, {})],
        *[{"val": value} for value in ({ESCAPE: 1.0}, {MARKUP: 1.0}, {"loss": "x"}, {}, {"loss": True})],
        *[{"steps": value} for value in (HUGE, NAN, None, deep(600))],
        *[{"status": value} for value in (ESCAPE, "done", "stopped early", None, [])],
    ]
    for number, change in enumerate(summaries):

        def write_summary(run: Path, change: dict[str, Any] = change) -> None:
            path = RunFolder(run).summary
            summary = json.loads(path.read_text())
            for key, value in change.items():
                first, _, rest = key.partition("/")
                if rest:
                    summary[first][rest] = value
                else:
                    summary[first] = value
            path.write_text(json.dumps(summary))

        yield Case(f"summary {number}: {short(change)}", write_summary, (INSPECT, INSPECT_BEST, PLOT, RESUME))


def config_files() -> Iterator[Case]:
    def edited(pattern: str, new: str) -> Callable[[str], str]:
        return lambda text: re.sub(pattern, lambda _: new, text, count=1, flags=re.M)

    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    changes: dict[str, Callable[[str], str]] = {
        "an alias bomb": lambda text: bomb,
        "an alias bomb behind": lambda text: text + bomb,
        "an alias": edited(r"^seed: 0", "seed: &s 0\nother: *s"),
        "a python object": edited(r"^seed: 0", "seed: !!python/object/apply:os.system ['touch imported']"),
        "a python name": edited(r"^seed: 0", "seed: !!python/name:mlpkit_canary.run"),
        "a python module": edited(r"^seed: 0", "seed: !!python/module:mlpkit_canary"),
        "a python object new": edited(r"^seed: 0", "seed: !!python/object/new:os.system [touch imported]"),
        "a tag": edited(r"^seed: 0", "seed: !mlpkit_canary 0"),
        "an environment variable": edited(r"^device: .*", "device: ${oc.env:HOME}"),
        "a decoded value": edited(r"^seed: 0", "seed: ${oc.decode:'1'}"),
        "a created value": edited(r"^seed: 0", "seed: ${oc.create:{a:1}}"),
        "a circle": edited(r"^seed: 0", "seed: ${seed}"),
        "another key": edited(r"^seed: 0", "seed: ${dataset.seed}"),
        "a missing key": edited(r"^seed: 0", "seed: ${nowhere}"),
        "a target": lambda text: text + "_target_: mlpkit_canary.run\n",
        "a section of Hydra": lambda text: text + "hydra:\n  run:\n    dir: /etc\n",
        "defaults": lambda text: text + "defaults: [mlpkit_canary]\n",
        "a huge number": edited(r"^seed: 0", "seed: 1" + "0" * 10**5),
        "a hexadecimal number": edited(r"^seed: 0", "seed: 0x" + "f" * 10**5),
        "a sexagesimal number": edited(r"^seed: 0", "seed: 1:" + "59:" * 10**4 + "59"),
        "escapes": edited(r"^device: .*", 'device: "\\e[31mred"'),
        "half a character": edited(r"^device: .*", 'device: "\\ud800"'),
        "a merge": lambda text: text + "<<: {seed: 1}\n",
        "seed twice": lambda text: text + "seed: 1\n",
        "deep lists": edited(r"^seed: 0", "seed: " + "[" * 1000 + "]" * 1000),
        "deep mappings": edited(r"^seed: 0", "seed: " + "{a: " * 1000 + "}" * 1000),
        "a megabyte": lambda text: text + "# " + "a" * 999_000,
        "two megabytes": lambda text: text + "# " + "a" * 2_000_000,
        "many keys": lambda text: text + "".join(f"k{n}: 0\n" for n in range(50_000)),
        "two documents": lambda text: text + "---\nseed: 1\n",
        "nothing": lambda text: "",
        "a list": lambda text: "- 1\n",
        "a control character": lambda text: text + "\x07",
        "another run.root": edited(r"^  root: .*", "  root: /"),
        "another run.dir": edited(r"^  dir: .*", "  dir: /etc"),
        "threads": edited(r"^  threads: .*", "  threads: 1024"),
        "a directive": lambda text: "%YAML 99999999999999999999.1\n---\n" + text,
        "a number in an escape": edited(r"^device: .*", 'device: "\\UFFFFFFFF"'),
    }
    for name, change in changes.items():

        def write(run: Path, change: Callable[[str], str] = change) -> None:
            path = RunFolder(run).config
            path.write_text(change(path.read_text()))

        yield Case(f"config.yaml with {name}", write, (PREDICT, PLOT, RESUME))


def folder_names() -> Iterator[Case]:
    for name in (ESCAPE, MARKUP.replace("/", ""), "a\nb", TURNED, MATHS, "[link=x]", "a" * 200, "\\[/]"):
        yield Case(
            f"a folder named {short(name)}", lambda run: None, (*ALL, SPLIT), (0,), name.replace("/", "")
        )
        yield Case(
            f"a folder without a run, named {short(name)}",
            lambda run: put(run, b""),
            (*ALL, SPLIT),
            REFUSED,
            name.replace("/", ""),
        )


def mutants() -> Iterator[Case]:
    """Yield checkpoints with one value of their header replaced by another."""
    for number in range(150):
        draw = random.Random(number)

        def change(forged: Forged, draw: random.Random = draw) -> None:
            part = draw.choice(("config", "signature", "progress", "scores"))
            places = list(leaves(forged.parts[part]))
            node, key = draw.choice(places)
            value = draw.choice(VALUES)
            if draw.random() < 0.1 and isinstance(node, dict):
                node[draw.choice(TEXTS)] = value
            else:
                node[key] = value

        # A config may ask for a training of any length; it is only read here.
        yield Case(f"mutant {number}", forge(change), (PREDICT, SPLIT, EVALUATE, INSPECT, INSPECT_BEST))


def leaves(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place at which a value stands."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield node, key
        yield from leaves(value)
