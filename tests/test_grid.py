"""A sweep's jobs are Hydra's, in Hydra's order; each is the config that its overrides alone would give."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpkit.cli.compose import Composer, Request, compose, read_config, sweeps
from mlpkit.cli.main import run as command
from mlpkit.cli.plan import plan, search_space
from mlpkit.config import search_path
from mlpkit.config.config import parse, to_dict
from mlpkit.config.problems import MOST_PROBLEMS
from mlpkit.errors import ConfigError
from mlpkit.sweeps.grid import MAX_JOBS, Interval, check_size, product, zipped

LR = 'must be a number > 0 or auto (learning rate; default "auto")'
SEED = (
    "must be an integer ≥ 0 and < 9223372036854775808 "
    "(seed of weights, data order, dropout and augmentation; default 0)"
)
SGD = (
    "optimizer=sgd has lr, momentum, dampening, weight_decay, nesterov; "
    "optimizer=adam, adamw, muon, nadam, … have it"
)
DATASETS = (
    "arrays, breast_cancer, diabetes, digits, fashion_mnist, image_folder, iris, line, mnist, moons, sum, "
    "table, wine"
)
TO_ADD = "add --search tpe, or give values"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(*overrides: str, paired: bool = False, most: int | None = None) -> list[tuple[str, ...]]:
    return [job.overrides for job in plan(Request(overrides), paired, most).jobs]


def refused(*overrides: str, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(Request(overrides), **options)
    return str(caught.value)


# ------------------------------------------------------------------------------------------- the grammar


GRAMMAR = [
    ["optimizer.lr=0.1,0.2"],
    ["seed=range(4)"],
    ["seed=range(3,11,4)", "optimizer.lr=range(0.1,0.35,0.1)"],
    ["seed=range(5,1,-2)"],
    ["seed=int(range(1.0,3.0))"],
    ["optimizer.lr=float(range(1,3))"],
    ["seed=choice(4,2)", "model.activation=choice(relu,tanh)"],
    ["seed=sort(3,1,2)"],
    ["seed=sort(choice(3,1,2),reverse=true)"],
    ["seed=sort(range(3),reverse=true)"],
    ["seed=tag(mine,choice(1,2))"],
    ["optimizer.lr=1e-05,1e16,0.5"],
    ["optimizer=sgd,adam"],
    ["optimizer=adam,sgd", "model=logistic,mlp", "seed=1,2"],
    ["experiment=null,line"],
    ["experiment=line,sum", "optimizer=adam", "optimizer.lr=0.1,0.2"],
    ["optimizer=glob(*)"],
    ["model=glob([l*,m*],exclude=linear)"],
    ["scheduler=glob(*,exclude=[one*,step])", "scheduler.warmup_steps=3"],
    ["+optimizer.weight_decay=0,0.1"],
    ["++optimizer.lr=0.1,0.2"],
    ["~optimizer.lr=auto,auto"],
    ["model.hidden=[4],[8,8],[2,2,2]"],
    ["optimizer={lr:0.1},{lr:0.2,betas:[0.5,0.6]}"],
    ["optimizer={lr:0.1}", "optimizer.lr=0.3,0.2"],
    ["optimizer=sgd,{lr:0.2}"],
    ["optimizer.lr=${model.dropout},0.2", "model.dropout=0.5,0.25"],
    ["dataset.seed=${seed}", "seed=1,2"],
    ["run.name='a','b'"],
    ['run.name=choice("1","2.0")'],
    ["run.root=a b,c"],
    ['run.root="a,b",\'it"s\''],
    ["run.root=choice('a b',\"c'd\",'range(3)')"],
    ["run.root=a\\,b,c\\=d"],
    ["run.name=null,x"],
    ["trainer.clip_norm=null,1.0"],
    ["seed=1"],
    [],
]
IN_ITS_OWN_WAY = ("run.", "optimizer.lr=${", "~")  # text is quoted otherwise than by Hydra


@pytest.mark.sampled(3)
@pytest.mark.parametrize("overrides", GRAMMAR, ids=lambda texts: " ".join(texts)[:60])
def test_a_job_is_what_its_overrides_alone_give(overrides: list[str]) -> None:
    found = plan(Request(tuple(overrides)))
    fixed = [text for text in overrides if not _is_sweep(text)]
    assert found.jobs
    for job in found.jobs:
        assert job.config == parse(compose(Request((*fixed, *job.overrides))))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "overrides",
    [texts for texts in GRAMMAR if not any(text.startswith(IN_ITS_OWN_WAY) for text in texts)],
    ids=lambda texts: " ".join(texts)[:60],
)
def test_jobs_and_their_order_are_hydras(overrides: list[str]) -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(search_path.packaged())):
        loader = GlobalHydra.instance().config_loader()
        swept = [text for text in overrides if _is_sweep(text)]
        parsed = OverridesParser.create(loader).parse_overrides(swept)
        (expected,) = BasicSweeper.split_arguments(parsed, None)
    assert planned(*overrides) == [tuple(job) for job in expected]


def _is_sweep(text: str) -> bool:
    return bool(OverridesParser.create().parse_overrides([text])[0].is_sweep_override())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('run.name=choice("1","2.0")', ["1", "2.0"]),
        ("run.name='1',x", ["1", "x"]),
        ("run.root=choice('a b',\"c'd\",'range(3)')", ["a b", "c'd", "range(3)"]),
        ('run.root="a,b",\'it"s\'', ["a,b", 'it"s']),
        ("run.root=a\\,b,c\\=d", ["a,b", "c=d"]),
        ("run.root=' x',x", [" x", "x"]),
    ],
)
def test_text_stays_text(text: str, values: list[str]) -> None:
    key = text.split("=")[0].removeprefix("run.")
    assert [getattr(job.config.run, key) for job in plan(Request((text,))).jobs] == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("null,1.0", [None, 1]),
        ("choice(null,1.0)", [None, 1]),
        ("tag(mine,choice(1.0,null))", [1, None]),
        ("sort(2.0,null,1.0)", [None, 1, 2]),
        ("sort(choice(2.0,null,1.0),reverse=true)", [2, 1, None]),
        ("shuffle(choice(2.0,null,1.0))", [2, 1, None]),
    ],
)
def test_functions_take_null(text: str, values: list[float | None]) -> None:
    found = [job.config.trainer.clip_norm for job in plan(Request((f"trainer.clip_norm={text}",))).jobs]
    assert found == values


@pytest.mark.long
def test_a_choice_may_be_called_like_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs/optimizer").mkdir(parents=True)
    for name in ("2024_01_02", "1e3", "010", "true"):
        Path(f"configs/optimizer/{name}.yaml").write_text("name: sgd\nlr: 0.25\n")
        assert read_config(Request((f"optimizer={name}",))).optimizer.lr == 0.25
    assert [job.config.optimizer.lr for job in plan(Request(('optimizer="1e3",adam',))).jobs] == [0.25, 0.001]


def test_overrides_are_as_one_would_type_them() -> None:
    assert planned("+optimizer.lr=0.1,1e-05", "model.hidden=[4, 2],[8]", "run.root=a b,'x y'") == [
        (f"+optimizer.lr={lr}", f"model.hidden={hidden}", f"run.root={root}")
        for lr in ("0.1", "1e-05")
        for hidden in ("[4,2]", "[8]")
        for root in ("a b", "'x y'")
    ]


def test_what_is_swept_is_set_last() -> None:
    jobs = plan(Request(("optimizer.lr=0.1,0.2", "optimizer={lr:0.5}"))).jobs
    assert [job.config.optimizer.lr for job in jobs] == [0.1, 0.2]


def test_shuffled_values_come_in_the_same_order_each_time() -> None:
    for text in (
        "seed=shuffle(range(20))",
        "seed=shuffle(choice(0,1,2,3,4,5,6,7,8,9))",
        "seed=shuffle(3,1,2,7,5)",
    ):
        first = planned(text)
        assert first == planned(text)
        plain = planned(text.replace("shuffle", "sort"))
        assert sorted(first) == sorted(plain) and first != plain


def test_without_a_sweep_there_is_one_job() -> None:
    for overrides in ((), ("seed=3", "optimizer=sgd")):
        (job,) = plan(Request(overrides)).jobs
        assert (job.overrides, job.config) == ((), parse(compose(Request(overrides))))
        assert plan(Request(overrides), paired=True, most=1).jobs == (job,)


@pytest.mark.long
def test_a_sweep_over_ones_own_choices(here: Path) -> None:
    for number, name in enumerate(("1", "1e3", "a b", "a,b", "null", "one")):
        path = here / "mine/init" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"name: constant\nvalue: {number}.0\n")
    (here / "mine/init/other.yaml").write_text("name: [")
    request = Request(
        ("init=glob(*,exclude=[*_*,default,constant,normal,uniform,o*,zeros])",), (Path("mine"),)
    )
    assert [(job.overrides, job.config.init.model_dump()["value"]) for job in plan(request).jobs] == [
        (('init="1"',), 0.0),
        (('init="1e3"',), 1.0),
        (("init=a b",), 2.0),
        (('init="a,b"',), 3.0),
        (('init="null"',), 4.0),
    ]


def test_a_sweep_over_a_whole_config(here: Path) -> None:
    whole = to_dict(parse(compose(Request(("experiment=line",)))))
    (here / "mine.yaml").write_text(yaml.safe_dump(whole))
    jobs = plan(Request(("optimizer.lr=0.5,0.25",), file=Path("mine.yaml"))).jobs
    assert [to_dict(job.config) for job in jobs] == [
        {**whole, "optimizer": {**whole["optimizer"], "lr": lr}} for lr in (0.5, 0.25)
    ]


# ---------------------------------------------------------------------------------------- combinations


def test_the_last_axis_is_the_fastest() -> None:
    assert list(product({"a": [1, 2], "b": "xyz"})) == [(a, b) for a in (1, 2) for b in "xyz"]
    assert list(product({})) == [()]


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"a": [1, 2], "b": "xy"}, [(1, "x"), (2, "y")]),
        ({"a": [1, 2], "b": "x", "c": [3, 4]}, [(1, "x", 3), (2, "x", 4)]),
        ({"a": [1], "b": "x"}, [(1, "x")]),
        ({}, [()]),
    ],
)
def test_lists_are_paired(axes: dict[str, Sequence[Any]], expected: list[tuple[Any, ...]]) -> None:
    assert list(zipped(axes)) == expected


def test_zip() -> None:
    assert planned("optimizer=sgd,adam", "seed=range(2)", "model.hidden=choice([4])", paired=True) == [
        ("optimizer=sgd", "seed=0", "model.hidden=[4]"),
        ("optimizer=adam", "seed=1", "model.hidden=[4]"),
    ]


def test_zip_of_different_lengths() -> None:
    said = refused("optimizer.lr=0.1,0.2", "seed=range(3)", "model=choice(mlp)", paired=True)
    assert said == (
        "--zip: the lists differ in length: optimizer.lr has 2, seed has 3; "
        "give lists of one length, or single values"
    )
    said = refused("optimizer.lr=0.1,0.2", "seed=range(1_000_000_000)", paired=True)
    assert "seed has 1,000,000,000;" in said


def test_equal_jobs_are_taken_once() -> None:
    found = plan(Request(("seed=1,2,1", "optimizer.lr=0.5,0.50,1,1.0")))
    assert [job.overrides for job in found.jobs] == [
        (f"seed={seed}", f"optimizer.lr={lr}") for seed in (1, 2) for lr in ("0.5", "1")
    ]
    assert found.dropped == 8


# ------------------------------------------------------------------------------------------------ size


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (
            ["optimizer.lr=1,2,3,4", "seed=range(256)", "model=choice(mlp)"],
            {"most": 1000},
            "--max-jobs=1000: the sweep has 1,024 jobs (optimizer.lr 4 × seed 256); ",
        ),
        (
            ["seed=range(1000000000)"],
            {},
            "--max-jobs=10000 (the default): the sweep has 1,000,000,000 jobs (seed 1,000,000,000); ",
        ),
        (
            ["seed=range(1000000000)", "dataset.seed=range(1000000000)"],
            {"paired": True},
            "--max-jobs=10000 (the default): the sweep has 1,000,000,000 jobs "
            "(seed 1,000,000,000 × dataset.seed 1,000,000,000); ",
        ),
        (
            [f"seed=range({'9' * 4000})", "optimizer.lr=shuffle(range(0,1,1e-300))"],
            {},
            "--max-jobs=10000 (the default): the sweep has over 10^12 jobs "
            "(seed over 10^12 × optimizer.lr over 10^12); ",
        ),
        (
            ["optimizer.lr=range(1e30,2e30,1)"],
            {},
            "--max-jobs=10000 (the default): the sweep has over 10^12 jobs (optimizer.lr over 10^12); ",
        ),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_too_many_jobs(overrides: list[str], options: dict[str, Any], message: str) -> None:
    start = time.process_time()
    said = refused(*overrides, **options)
    assert said == f"{message}sweep fewer values or raise --max-jobs"
    assert time.process_time() - start < 5


def test_as_many_jobs_as_there_may_be() -> None:
    assert len(planned("seed=range(6)", most=6)) == 6
    check_size({"seed": MAX_JOBS}, paired=False, most=None)
    check_size({"seed": MAX_JOBS, "dataset.seed": MAX_JOBS}, paired=True, most=None)


@pytest.mark.parametrize("text", ["0,1,0.1", "0,0.95,0.1", "1,0,-0.3", "0,1,0.3", "1,0,0.5", "0.1,0.7,0.2"])
def test_the_length_of_a_range_is_known(text: str) -> None:
    parsed = OverridesParser.create().parse_overrides([f"optimizer.lr=range({text})"])[0]
    expected = len(list(parsed.sweep_iterator()))
    if expected == 0:
        assert refused(f"optimizer.lr=range({text})").endswith("stands for no value; give one or more")
        return
    said = refused(f"optimizer.lr=range({text})", most=expected - 1)
    assert f"the sweep has {expected} jobs" in said


@pytest.mark.long
def test_a_thousand_jobs_are_planned_quickly() -> None:
    compose(Request())  # what is imported and read once
    for overrides in (
        ("optimizer.lr=0.003,0.01,0.03,0.1", "seed=range(250)"),
        ("optimizer=sgd,adam", "model.hidden=[4],[8]", "seed=range(250)"),
        ("dataset.seed=${seed}", "seed=range(1000)"),
    ):
        start = time.process_time()
        assert len(planned(*overrides)) == 1000
        assert time.process_time() - start < 5


# --------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["optimizer.lr=0.1,-1,0", "seed=range(3)"], [f"optimizer.lr=-1: {LR}", f"optimizer.lr=0: {LR}"]),
        (["optimizer.lr=0.1,-1", "seed=-1,1"], [f"seed=-1: {SEED}", f"optimizer.lr=-1: {LR}"]),
        (["optimizer.lr=-1", "seed=1,2"], [f"optimizer.lr=-1: {LR}"]),
        (
            ["optimizer=adam,sgd", "+optimizer.eps=1e-8,1e-9", "seed=1,2"],
            [f"optimizer.eps: unknown key; {SGD} (with optimizer=sgd)"],
        ),
        (
            ["dataset=moon,moons,line,lin", "seed=1,2"],
            [
                f"dataset={name}: no such dataset; choose one of {DATASETS} "
                f"(a plug-in's needs --plugin FILE); did you mean {near}?"
                for name, near in (("moon", "moons"), ("lin", "line"))
            ],
        ),
        (["~optimizer.lr=auto,5"], ["~optimizer.lr=5: optimizer.lr has another value; write ~optimizer.lr"]),
        (
            ["optimizer.lr=${nope},0.1"],
            [
                "optimizer.lr: Interpolation key 'nope' not found; write the value, or "
                "${other.key} (with optimizer.lr=${nope})"
            ],
        ),
        (
            ["optimizer.lr=interval(0,1)"],
            [f"optimizer.lr=interval(0,1): an interval is searched, not swept; {TO_ADD}: optimizer.lr=A,B"],
        ),
        (["seed=1,2", "seed=3"], ["seed: given twice (seed=1,2 and seed=3); keep one of them"]),
        (
            ["hydra.run.dir=1,2"],
            ["hydra.run.dir=1,2: mlpkit has no hydra section; write run.dir=DIR"],
        ),
        (
            ["dataset@x=moons,line"],
            ["dataset@x=moons,line: packages (@) are not taken here; write dataset=NAME"],
        ),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_problems_of_all_jobs_are_told_once(overrides: list[str], lines: list[str]) -> None:
    assert refused(*overrides).splitlines() == lines


@pytest.mark.long
def test_many_problems_are_cut_short() -> None:
    lines = refused("seed=range(-300,0)").splitlines()
    assert lines[:2] == [f"seed=-300: {SEED}", f"seed=-299: {SEED}"]
    assert len(lines) == MOST_PROBLEMS + 1 and lines[-1] == "200 more problems; mend these first"


def test_groups_of_a_whole_config_are_not_swept(here: Path) -> None:
    (here / "mine.yaml").write_text(yaml.safe_dump(to_dict(parse(compose(Request())))))
    with pytest.raises(ConfigError) as caught:
        plan(Request(("optimizer=sgd,adam",), file=Path("mine.yaml")))
    assert str(caught.value).splitlines() == [
        f"optimizer={name}: --config mine.yaml is a whole config, which has chosen every group; "
        "set single keys, such as optimizer.lr=0.01"
        for name in ("sgd", "adam")
    ]


@pytest.mark.long
def test_a_broken_file_of_a_choice(here: Path) -> None:
    (here / "configs/optimizer").mkdir(parents=True)
    (here / "configs/optimizer/mine.yaml").write_text("defaults: [nope]\n")
    assert refused("optimizer=adam,mine", "seed=range(50)") == (
        "configs/train.yaml: In 'optimizer/mine': Could not load 'optimizer/nope'; `mlpkit list` shows what "
        "there is (with optimizer=mine)"
    )


parts = st.sampled_from(
    [
        "1",
        "-1",
        "0.5",
        "1e400",
        "nan",
        "a",
        "'b c'",
        "[1]",
        "{a:1}",
        "${seed}",
        "null",
        "",
        "~",
        "(",
        "ü",
        "\\,",
    ]
)
functions = st.sampled_from(["range", "choice", "interval", "sort", "shuffle", "glob", "int", "str"])
arguments = st.lists(parts | st.sampled_from(["range(2)", "choice(1,2)"]), max_size=3).map(",".join)
swept = st.builds("{}({})".format, functions, arguments)
lists = st.lists(parts | swept, min_size=1, max_size=3).map(",".join)


@pytest.mark.long
@given(
    key=st.sampled_from(
        ["seed", "optimizer.lr", "+model.hidden", "~seed", "model", "run.name", "experiment"]
    ),
    text=lists | swept.map("tag(log,{})".format),
    paired=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sweep_is_planned_or_refused(key: str, text: str, paired: bool) -> None:
    request = Request((f"{key}={text}", "dataset.seed=1,2"))
    for job in _taken(lambda: plan(request, paired).jobs) or ():
        fixed, _ = sweeps(request)
        assert job.config == parse(compose(Request((*fixed.overrides, *job.overrides))))
    fixed, space = _taken(lambda: search_space(request)) or (Request(), {})
    composer = Composer(fixed)
    for name, values in space.items():
        ends = map(repr, values.ends) if isinstance(values, Interval) else values
        assert all(composer.read([f"{name}={end}"]) for end in ends)


def _taken(make: Any) -> Any:
    try:
        return make()
    except ConfigError as error:
        assert error.args and all(str(line).isprintable() for line in error.args)
        return None


# ----------------------------------------------------------------------------------------------- search


def test_a_search_space() -> None:
    request = Request(
        (
            "optimizer.lr=tag(log,interval(1e-4,0.1))",
            "model.dropout=interval(0,1)",
            "trainer.epochs=int(interval(1,9))",
            "+dataset.n=tag(log,int(interval(10,99)))",
            "optimizer=adam,adamw",
            "seed=range(3)",
            "model.hidden=[4],[8,8]",
            "dataset=moons",
        ),
        folders=(Path(),),
    )
    fixed, space = search_space(request)
    assert fixed == Request(("dataset=moons",), folders=(Path(),))
    assert space == {
        "optimizer.lr": Interval(1e-4, 0.1, log=True),
        "model.dropout": Interval(0.0, 1.0),
        "trainer.epochs": Interval(1, 9),
        "+dataset.n": Interval(10, 99, log=True),
        "optimizer": ("adam", "adamw"),
        "seed": ("0", "1", "2"),
        "model.hidden": ("[4]", "[8,8]"),
    }
    assert [values.integer for values in space.values() if isinstance(values, Interval)] == [
        False,
        False,
        True,
        True,
    ]


def test_the_ends_of_an_interval_can_be_drawn() -> None:
    assert Interval(0.0, 1.0).ends == (0.0, 0.9999999999999999)
    assert Interval(1, 9).ends == (1, 9)


def test_a_trial_is_composed_as_a_job() -> None:
    fixed, _ = search_space(
        Request(("dataset=line", "model=linear", "optimizer.lr=interval(0.1,1)", "seed=1,2"))
    )
    trial = ("optimizer.lr=0.25", "seed=2")
    composer = Composer(fixed)
    assert composer.compose(composer.read(trial)) == compose(Request((*fixed.overrides, *trial)))


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        ([], ["--search: nothing to search; give a key several values, or interval(LOW,HIGH)"]),
        (["seed=1"], ["--search: nothing to search; give a key several values, or interval(LOW,HIGH)"]),
        (
            ["optimizer.lr=interval(0,1)", "model.dropout=interval(0,1.5)", "seed=1,-1"],
            [
                f"optimizer.lr=0.0: {LR}",
                "model.dropout=1.4999999999999998: must be a number ≥ 0 and < 1 or auto "
                "(share of hidden units dropped in training; auto: 0.2, and 0 for a regression; default 0.0)",
                f"seed=-1: {SEED}",
            ],
        ),
        (
            ["optimizer=adam,sgd", "optimizer.eps=interval(0.1,1)"],
            [f"optimizer.eps: unknown key; {SGD} (with optimizer=sgd optimizer.eps=0.1)"],
        ),
        (
            ["seed=range(1000000000)"],
            [
                "--max-jobs=10000 (the default): the sweep has 1,000,000,000 jobs (seed 1,000,000,000); "
                "sweep fewer values or raise --max-jobs"
            ],
        ),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_what_cannot_be_searched(overrides: list[str], lines: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        search_space(Request(tuple(overrides)))
    assert str(caught.value).splitlines() == lines


def test_an_error_of_many_runs_is_told_of_three(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["train", "-m", "data=none.csv", "target=y", "model=mlp", "seed=range(6)"]) == 1
    printed, said = capsys.readouterr()
    *lines, more, last = said.splitlines()
    error = f"{here / 'none.csv'}: no such file; check the path"
    assert [line.partition(" (")[2] for line in lines] == [f"seed={seed}): {error}" for seed in range(3)]
    assert more == f"mlpkit: 3 more runs: {error}"
    assert last.startswith("mlpkit: 6 of 6 runs failed; ")
    assert re.fullmatch("sweep of 6 runs\nsweep folder: .*\n", printed)
