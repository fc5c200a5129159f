"""Matrix products: what is asked is given, a measurement is made once, and the global setting stays."""

import json
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
import torch
from engines import KINDS, engine_of, evaluated
from running import content
from torch.utils._python_dispatch import TorchDispatchMode

from mlpkit.cli.main import run as command
from mlpkit.config.run import LEVELS
from mlpkit.engines import matmul_choice
from mlpkit.engines.manual import ManualGradients
from mlpkit.engines.matmul import EXACT, LARGE, Matmul
from mlpkit.engines.matmul_choice import choose_matmul, measure
from mlpkit.engines.operations import run_operations
from mlpkit.folders.run_folder import RunFolder

SHAPE = (64, 256, 256)  # rows, width below, width: 4 million multiplications
SMALL = (64, 100, 100)
MEASURED = "the fastest that is as exact, by measurement"
UNKNOWN = Matmul(reason="no measurement could be kept")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Give each test an empty cache folder, and see that it leaves torch's setting as it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "mlpkit" / "matmul"
    left = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    assert left == "highest"


def never(shape, rounds):
    raise AssertionError("it was measured")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("before", [None, "medium"])
@pytest.mark.parametrize("shape", [SMALL, SHAPE])
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_is_asked_is_given(level, before, shape, device, cache):
    assert choose_matmul(level, shape, device, True, before) == Matmul(level, 0, "as asked")
    assert not cache.exists()


def test_small_products_and_cuda_stay_at_the_highest(cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "measure", never)
    assert (SMALL[0] * SMALL[1] * SMALL[2]) < LARGE <= SHAPE[0] * SHAPE[1] * SHAPE[2]
    for before in (None, "medium"):
        assert choose_matmul("auto", SMALL, "cpu", True, before) == EXACT
        large = choose_matmul("auto", (128, 4096, 4096), "cuda:0", True, before)
        assert large == Matmul(reason="lower ones round the factors on CUDA")
    assert not cache.exists()


def test_a_run_that_goes_on_keeps_its_level(cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "measure", never)
    for level in LEVELS:
        assert choose_matmul("auto", SHAPE, "cpu", True, level) == Matmul(level, LARGE, "as before")
    assert not cache.exists()


def test_auto_measures_once_and_remembers(cache, monkeypatch):
    first = choose_matmul("auto", SHAPE, "cpu", True)
    assert first == Matmul(first.level, LARGE, MEASURED)
    (file,) = cache.iterdir()
    assert json.loads(file.read_text()) == {"level": first.level}
    monkeypatch.setattr(matmul_choice, "measure", never)
    assert choose_matmul("auto", SHAPE, "cpu", True) == first
    for level in LEVELS:
        file.write_text(json.dumps({"level": level}))
        assert choose_matmul("auto", SHAPE, "cpu", remember=False) == Matmul(level, LARGE, MEASURED)


def test_the_fastest_may_round_to_bfloat16(cache, monkeypatch):
    """It is measured among more levels than `auto` has, and stored in a file of its own."""
    monkeypatch.setattr(matmul_choice, "CLEARLY", float("inf"))  # a later level counts as faster
    fastest = Matmul("bfloat16", LARGE, "the fastest, by measurement")
    assert choose_matmul("fastest", SHAPE, "cpu", True) == fastest
    (file,) = cache.iterdir()
    assert json.loads(file.read_text()) == {"level": "bfloat16"}
    monkeypatch.setattr(matmul_choice, "CLEARLY", 0.0)
    assert choose_matmul("fastest", SHAPE, "cpu", True) == fastest
    assert choose_matmul("auto", SHAPE, "cpu", True) == Matmul("highest", LARGE, MEASURED)
    assert len(list(cache.iterdir())) == 2


def test_the_fastest_without_a_measurement(cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "measure", never)
    assert choose_matmul("fastest", SMALL, "cpu", True) == EXACT
    assert choose_matmul("fastest", SHAPE, "cpu", remember=False) == UNKNOWN
    assert choose_matmul("fastest", SHAPE, "cuda:0", True) == Matmul("high", 0, "TF32 is the fastest on CUDA")
    for level in (*LEVELS, "bfloat16"):
        assert choose_matmul("fastest", SHAPE, "cpu", True, level) == Matmul(level, LARGE, "as before")
    assert choose_matmul("auto", SHAPE, "cpu", False, "bfloat16") == UNKNOWN  # `auto` never rounds
    assert not cache.exists()


def test_another_product_is_measured_anew(cache):
    choose_matmul("auto", SHAPE, "cpu", True)
    choose_matmul("auto", (64, 300, 256), "cpu", True)
    assert len(list(cache.iterdir())) == 2


def test_another_number_of_threads_is_measured_anew(cache):
    threads = torch.get_num_threads()
    choose_matmul("auto", SHAPE, "cpu", True)
    try:
        torch.set_num_threads(threads + 1)
        choose_matmul("auto", SHAPE, "cpu", True)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"level": "fast"}', '{"level": null}', '{"level": ["high"]}', "\0"],
)
def test_a_damaged_memory_is_measured_anew(content, cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "measure", lambda *_: "high")
    choose_matmul("auto", SHAPE, "cpu", True)
    (file,) = cache.iterdir()
    file.write_text(content)
    monkeypatch.setattr(matmul_choice, "measure", lambda *_: "medium")
    assert choose_matmul("auto", SHAPE, "cpu", True).level == "medium"
    assert json.loads(file.read_text()) == {"level": "medium"}
    assert list(cache.iterdir()) == [file]


@pytest.mark.parametrize("obstacle", ["a file", "a folder", "of another"])
def test_what_cannot_be_kept_is_not_used(obstacle, cache, tmp_path, monkeypatch):
    """Measured by the next run as well, it might be another level, and the bits others with it."""
    monkeypatch.setattr(matmul_choice, "measure", lambda *_: "high")
    choose_matmul("auto", SHAPE, "cpu", True)
    (file,) = cache.iterdir()
    if obstacle == "a folder":
        file.unlink()
        file.mkdir()
    else:
        (tmp_path / "a file").write_text("")
        place = tmp_path / "a file" if obstacle == "a file" else Path("/proc/nothing")
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    assert choose_matmul("auto", SHAPE, "cpu", True) == UNKNOWN


def test_without_leave_to_remember_nothing_is_measured(cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "measure", never)
    assert choose_matmul("auto", SHAPE, "cpu", remember=False) == UNKNOWN
    assert not cache.exists()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_two_that_measure_at_once_both_take_what_is_kept(links, cache, monkeypatch):
    """The other one writes its level down while this one measures."""

    def unknown(ours, path):
        raise PermissionError

    def measured(shape, rounds):
        monkeypatch.setattr(matmul_choice, "measure", lambda *_: "medium")
        assert choose_matmul("auto", SHAPE, "cpu", True).level == "medium"
        return "high"

    if not links:
        monkeypatch.setattr(os, "link", unknown)
    monkeypatch.setattr(matmul_choice, "measure", measured)
    found = choose_matmul("auto", SHAPE, "cpu", True)
    (file,) = cache.iterdir()
    assert json.loads(file.read_text()) == {"level": found.level}
    if links:  # else the later one has taken the earlier one's place
        assert found.level == "medium"


@pytest.mark.long
def test_processes_that_measure_at_once_take_the_same(cache):
    """Eight processes, of which each measures another level than the one before."""
    context = multiprocessing.get_context("fork")
    for _ in range(20):
        start, found = context.Barrier(8), context.SimpleQueue()
        ours = [context.Process(target=choose_at_once, args=(LEVELS[n % 3], start, found)) for n in range(8)]
        for process in ours:
            process.start()
        levels = {found.get() for _ in ours}
        for process in ours:
            process.join()
        (file,) = cache.iterdir()
        assert levels == {json.loads(file.read_text())["level"]}
        file.unlink()


def choose_at_once(level, start, found):
    def measured(shape, rounds):
        start.wait()
        return level

    matmul_choice.measure = measured
    found.put(choose_matmul("auto", SHAPE, "cpu", True).level)


def test_a_large_product_is_probed_by_a_part_of_it(monkeypatch):
    probes = []
    monkeypatch.setattr(matmul_choice, "measure", lambda shape, _: probes.append(shape) or "highest")
    for shape in (SHAPE, (60000, 784, 256), (1000, 10**6, 10), (64, 4096, 10**6), (1, 2000, 1000)):
        choose_matmul("auto", shape, "cpu", True)
    assert probes == [SHAPE, (64, 784, 256), (64, 4096, 16), (64, 4096, 61), (1, 2000, 131)]
    assert all(rows * below * width <= 1.1 * matmul_choice.PROBED for rows, below, width in probes)
    assert all(below * width <= matmul_choice.WEIGHTS for _, below, width in probes)


# ---------------------------------------------------------------------------------- the measurement


def errors_at(shape):
    """Return the distance of each level's product from that of float64."""
    rows, below, width = shape
    random = torch.Generator().manual_seed(1)
    left, right = torch.randn(rows, below, generator=random), torch.randn(width, below, generator=random).T
    errors = {}
    for level in LEVELS:
        with Matmul(level).for_all_products():
            errors[level] = float((torch.mm(left, right).double() - left.double() @ right.double()).norm())
    return errors


@pytest.mark.parametrize("shape", [SHAPE, (64, 1000, 200), (16, 512, 512)])
def test_what_is_measured_is_nearly_as_exact_as_the_highest(shape, monkeypatch):
    """Also where any level that is exact enough is taken for fast."""
    for clearly in (matmul_choice.CLEARLY, float("inf")):
        monkeypatch.setattr(matmul_choice, "CLEARLY", clearly)
        errors, level = errors_at(shape), measure(shape)
        assert errors[level] <= 1.1 * matmul_choice.LARGEST_ERROR * errors["highest"]


def test_a_level_must_be_exact_enough_and_clearly_faster(monkeypatch):
    monkeypatch.setattr(matmul_choice, "CLEARLY", float("inf"))
    monkeypatch.setattr(matmul_choice, "LARGEST_ERROR", float("inf"))
    assert measure(SMALL) == last_that_is_another_library(SMALL)
    monkeypatch.setattr(matmul_choice, "LARGEST_ERROR", 0.0)
    assert measure(SMALL) == "highest"
    monkeypatch.setattr(matmul_choice, "LARGEST_ERROR", float("inf"))
    monkeypatch.setattr(matmul_choice, "CLEARLY", 0.0)
    assert measure(SMALL) == "highest"


def test_on_a_slow_machine_each_level_is_timed_once(monkeypatch):
    monkeypatch.setattr(matmul_choice, "MAX_SECONDS", 0.0)
    assert measure(SHAPE) in LEVELS


def last_that_is_another_library(shape):
    probe = matmul_choice._Probe(shape)
    products = []
    for level in LEVELS:
        probe.time(level)
        products.append(probe.sampled())
    return next(
        level
        for number, level in reversed(list(enumerate(LEVELS)))
        if not any(torch.equal(products[number], higher) for higher in products[:number])
    )


@pytest.mark.parametrize(
    ("highest", "high", "medium", "level"),
    [
        ([(False, 3.0), (False, 5.0)], [(False, 9.0), (False, 2.8)], [(False, 2.7)], "high"),
        ([(False, 3.0)], [(False, 2.0)], [(False, 1.0)], "medium"),
        ([(False, 3.0)], [(True, 1.0), (False, 3.0)], [(True, 1.0), (False, 4.0)], "highest"),
        ([(True, 3.0)], [(True, 2.0), (True, 7.0)], [(True, 9.0)], "high"),  # nothing else is known
    ],
)  # fmt: skip
def test_the_shortest_turn_counts_and_one_that_nothing_disturbed_before_all(highest, high, medium, level):
    assert matmul_choice.fastest({"highest": highest, "high": high, "medium": medium}) == level


def test_a_turn_says_whether_a_core_was_taken(monkeypatch):
    probe = matmul_choice._Probe(SMALL)
    for counts, disturbed in (([4, 4], False), ([5, 4], True)):
        monkeypatch.setattr(matmul_choice, "interruptions", counts.pop)
        assert probe.time("highest")[0] is disturbed


# ------------------------------------------------------------------------------------- the products


def test_everywhere_ends_with_what_happens_inside():
    with Matmul("medium").for_all_products():
        assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(ZeroDivisionError), Matmul("high").for_all_products():
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == "highest"


def factors(networks, dtype):
    """Return (base, left, right), the right one transposed as weights are."""
    front, random = (3,) if networks else (), torch.Generator().manual_seed(2)

    def draw(*shape):
        return torch.randn(*front, *shape, generator=random, dtype=torch.float64).to(dtype)

    return draw(20, 30), draw(20, 50), draw(30, 50).mT


# Of the largest entry, which is of the order of 30: float32 rounds each of fifty products to 6e-8 of it, and
# bfloat16, which a lower level may use where the processor has it, to 4e-3.
ROUNDING = {torch.float32: 1e-5, torch.float64: 1e-12}
COARSE = 0.3


@pytest.mark.long
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("networks", [False, True])
@pytest.mark.parametrize("into", ["nothing", "itself", "another", "another, of a column"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("smallest", [0, 10**9])
def test_a_product_is_that_of_float64(level, smallest, into, networks, dtype):
    """In each of the ways that backpropagation has: a bias is a column that is added to all others."""
    base, left, right = factors(networks, dtype)
    if into == "another, of a column":
        base = base[..., :1].clone()
    expected = base.double() + left.double() @ right.double()
    if into == "nothing":  # what is in a buffer before does not count
        expected = left.double() @ right.double()
        base.fill_(float("nan"))
    out = torch.full_like(expected, float("nan"), dtype=dtype) if into.startswith("another") else base
    kept = base.clone()
    run_operations(Matmul(level, smallest).product(left, right, out, None if into == "nothing" else base))
    bound = COARSE if level != "highest" and smallest == 0 and dtype == torch.float32 else ROUNDING[dtype]
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=bound)
    assert out is base or torch.equal(base, kept)


@pytest.mark.parametrize("level", LEVELS)
def test_a_product_that_fails_leaves_the_setting(level):
    base, left, right = factors(False, torch.float32)
    with pytest.raises(RuntimeError):
        run_operations(Matmul(level).product(left, right.mT, base))
    left_behind = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    assert left_behind == "highest"


@pytest.mark.sampled(4)
@pytest.mark.parametrize("networks", [False, True])
@pytest.mark.parametrize("into", ["nothing", "itself", "another", "another, of a column"])
def test_bfloat16_rounds_factors_and_products(into, networks):
    """Each rounding is by at most 2⁻⁹ of a number; there are three of them, and sums are float32."""
    base, left, right = factors(networks, torch.float32)
    if into == "another, of a column":
        base = base[..., :1].clone()
    exact, sizes = left.double() @ right.double(), left.double().abs() @ right.double().abs()
    expected = exact if into == "nothing" else exact + base.double()
    out = torch.full_like(exact, float("nan"), dtype=torch.float32) if into.startswith("another") else base
    run_operations(Matmul("bfloat16").product(left, right, out, None if into == "nothing" else base))
    errors = (out.double() - expected).abs()
    assert (errors <= 3.1 * 2**-9 * sizes).all()
    assert errors.max() > 2**-11 * sizes.max()  # it was done
    assert torch.get_float32_matmul_precision() == "highest"


def test_bfloat16_leaves_small_products_and_scores_exact():
    assert choose_matmul("bfloat16", SHAPE, "cpu", True) == Matmul("bfloat16", LARGE, "as asked")
    base, left, right = factors(False, torch.float32)
    run_operations(Matmul("bfloat16", LARGE).product(left, right, base))
    assert torch.equal(base, left @ right)
    with Matmul("bfloat16").for_all_products():
        assert torch.get_float32_matmul_precision() == "highest"


def test_bfloat16_trains_nearly_as_float32():
    overrides = ("dataset=digits", "model.hidden=[600]", "trainer=mini_batch", "optimizer.lr=0.001")
    scores = []
    for level in ("bfloat16", "highest"):
        engine = engine_of(ManualGradients, *overrides, matmul=Matmul(level, LARGE))
        for epoch in range(3):
            for step, rows in enumerate(torch.arange(1152).split(64)):
                engine.step(rows, [0.001], epoch, 18 * epoch + step, measure=False)
            engine.collect()
        scores.append(evaluated(engine, "val")["loss"])
    assert scores[0] != scores[1]
    assert scores[0] == pytest.approx(scores[1], rel=0.02)
    assert scores[1] < 1


class Levels(TorchDispatchMode):
    """Writes down the setting that holds while torch multiplies."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        if operation.name().partition(".")[0] in ("aten::addmm", "aten::mm", "aten::linear"):
            self.seen.append(torch.get_float32_matmul_precision())
        return operation(*arguments, **(options or {}))


@pytest.mark.long
@pytest.mark.parametrize(
    ("chosen", "shape", "expected"),
    [
        (Matmul("medium", 1000), (10, 10, 10), "medium"),
        (Matmul("medium", 1000), (10, 10, 9), "highest"),
        (Matmul("high", 0), (1, 1, 1), "high"),
        (EXACT, (100, 100, 100), "highest"),
    ],
)
def test_only_large_products_have_the_level(chosen, shape, expected):
    rows, below, width = shape
    left, right, out = torch.ones(rows, below), torch.ones(below, width), torch.zeros(rows, width)
    with Levels() as levels:
        run_operations(chosen.product(left, right, out, torch.zeros(width)))
    assert levels.seen == [expected]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", LEVELS)
def test_an_engine_computes_at_its_level(kind, level):
    engine = engine_of(kind, "dataset=moons", "model.hidden=[4]", matmul=Matmul(level))
    with Levels() as levels:
        engine.step(slice(None), [0.1], 0, 0, measure=False)
    assert levels.seen == [level] * 5  # two products up, three down
    with Levels() as levels:
        engine.evaluate("val")
    assert levels.seen == [level] * 2


# --------------------------------------------------------------------------------------------- runs

RUN = (
    "dataset=moons", "dataset.n=200", "model.hidden=[256,256]", "trainer.batch_size=64",
    "run.dir=outputs/mine", "run.plots=false", "run.tensorboard=false", "run.progress=none",
)  # fmt: skip
MINE = RunFolder(Path("outputs/mine"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def about():
    return json.loads(MINE.environment.read_text())


def change(**values):
    MINE.environment.write_text(json.dumps({**about(), **values}))


def said():
    return [line for line in MINE.log.read_text().splitlines() if "matrix products" in line]


def test_a_run_says_what_it_was_made_with(here, cache):
    assert command(["train", *RUN, "trainer.epochs=1"]) == 0
    assert (about()["engine"], about()["threads"]) == ("stacked", torch.get_num_threads())
    (file,) = cache.iterdir()
    assert json.loads(file.read_text()) == {"level": about()["matmul"]}
    (line,) = said()
    assert line.endswith(f"matrix products: {about()['matmul']} ({MEASURED})")


def test_a_run_gets_what_it_asks_for(here, cache):
    assert (
        command(["train", *RUN, "trainer.epochs=1", "trainer.matmul=medium", "trainer.engine=autograd"]) == 0
    )
    assert (about()["matmul"], about()["engine"]) == ("medium", "autograd")
    assert said()[0].endswith("matrix products: medium (as asked)")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ("trainer.engine=autograd",),
            "trainer.matmul=bfloat16: the autograd engine (as asked) does not round; set trainer.matmul=auto",
        ),
        (
            ("model.norm=layer",),
            "trainer.matmul=bfloat16: the autograd engine (for the LayerNorm layers) does not round; "
            "set trainer.matmul=auto",
        ),
        (("trainer.precision=float64",), "trainer: matmul=bfloat16 needs precision=float32"),
    ],
)
def test_bfloat16_where_it_cannot_be_had(overrides, said, here, capsys):
    assert command(["train", *RUN, "trainer.matmul=bfloat16", *overrides]) == 2
    assert capsys.readouterr().err == f"mlpkit: {said}\n"
    assert not Path("outputs").exists()


def test_the_fastest_with_autograd_does_not_round(here, cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "CLEARLY", float("inf"))
    wanted = ["trainer.epochs=1", "trainer.matmul=fastest", "trainer.engine=autograd"]
    assert command(["train", *RUN, *wanted]) == 0
    assert said()[-1].endswith("matrix products: highest (the autograd engine does not round)")


def test_a_run_resumed_keeps_the_fastest(here, cache, monkeypatch):
    monkeypatch.setattr(matmul_choice, "CLEARLY", float("inf"))
    assert command(["train", *RUN, "trainer.epochs=1", "trainer.matmul=fastest"]) == 0
    assert about()["matmul"] == "bfloat16"
    shutil.rmtree(cache)
    monkeypatch.setattr(matmul_choice, "measure", never)
    assert command(["resume", "trainer.epochs=2"]) == 0
    assert said()[-1].endswith("matrix products: bfloat16 (as before)")


def test_a_small_run_says_nothing(here, cache):
    small = [override for override in RUN if "hidden" not in override]
    assert command(["train", *small, "trainer.epochs=1", "model.hidden=[8]"]) == 0
    assert about()["matmul"] == "highest" and said() == []
    assert not cache.exists()


def test_the_same_command_gives_the_same_bits(here):
    assert command(["train", *RUN, "trainer.epochs=2"]) == 0
    first = content(MINE.last)
    shutil.rmtree("outputs")
    assert command(["train", *RUN, "trainer.epochs=2"]) == 0
    assert content(MINE.last) == first


@pytest.mark.parametrize("level", LEVELS)
def test_resume_keeps_the_level(level, here, capsys):
    assert command(["train", *RUN, "trainer.epochs=1"]) == 0
    change(matmul=level, engine="autograd")
    capsys.readouterr()
    assert command(["resume", "outputs/mine", "trainer.epochs=2"]) == 0
    assert capsys.readouterr().err == ""  # nothing has changed
    assert (about()["matmul"], about()["engine"]) == (level, "autograd")
    assert said()[-1].endswith(f"matrix products: {level} (as before)")


def test_resume_keeps_the_threads(here, capsys):
    threads = torch.get_num_threads()
    try:
        assert command(["train", *RUN, "trainer.epochs=1"]) == 0
        change(threads=3)
        capsys.readouterr()
        assert command(["resume", "outputs/mine", "trainer.epochs=2"]) == 0
        assert capsys.readouterr().err == ""
        assert about()["threads"] == 3
        assert command(["resume", "outputs/mine", "trainer.epochs=3", "trainer.threads=2"]) == 0
        assert about()["threads"] == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("changed", ["device_name", "torch"])
def test_on_another_machine_all_is_chosen_anew(changed, here, cache, capsys):
    assert command(["train", *RUN, "trainer.epochs=1"]) == 0
    threads = about()["threads"]
    (file,) = cache.iterdir()
    file.write_text('{"level": "medium"}')  # as this machine would choose
    other = {"device_name": "a slate"} if changed == "device_name" else {"versions": {"torch": "2.0"}}
    change(matmul="high", engine="autograd", threads=threads + 1, **other)
    assert command(["resume", "outputs/mine", "trainer.epochs=2"]) == 0
    assert (about()["matmul"], about()["engine"], about()["threads"]) == ("medium", "stacked", threads)
    assert said()[-1].endswith(f"matrix products: medium ({MEASURED})")
    assert "matmul 'medium' (was 'high')" in capsys.readouterr().err


@pytest.mark.sampled(4)
@pytest.mark.parametrize("nonsense", [7, "fast", None, ["high"], {}])
def test_nonsense_in_the_environment_is_not_obeyed(nonsense, here, cache):
    assert command(["train", *RUN, "trainer.epochs=1"]) == 0
    threads = about()["threads"]
    (file,) = cache.iterdir()
    file.write_text('{"level": "high"}')
    change(matmul=nonsense, engine=nonsense, threads=-1)
    assert command(["resume", "outputs/mine", "trainer.epochs=2"]) == 0
    assert (about()["matmul"], about()["engine"], about()["threads"]) == ("high", "stacked", threads)


def test_a_foreign_run_folder_leaves_no_memory(here, cache):
    assert command(["train", *RUN, "trainer.epochs=1"]) == 0
    shutil.rmtree(cache)
    MINE.environment.unlink()
    assert command(["resume", "outputs/mine", "trainer.epochs=2"]) == 0
    assert not cache.exists()
