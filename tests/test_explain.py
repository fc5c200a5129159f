"""`explain` shows the numbers of one training step: those of the tutorials, of torch and of training."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from conftest import Refused
from running import config
from torch import Tensor, nn, optim

from mlpkit.analysis.explain import Step
from mlpkit.cli.main import run as command
from mlpkit.data.load import load_dataset
from mlpkit.folders import checkpoint
from mlpkit.folders.run_folder import RunFolder
from mlpkit.folders.trust import Trust
from mlpkit.plots.formulas import latex, mathml
from mlpkit.training.one_step import take_step

MOONS = ("dataset=moons", "model=mlp", "model.hidden=[4]")
QUIET = ("run.loggers=[]", "run.plots=false", "run.progress=none")
RUN = RunFolder(Path("outputs/run"))
RESIDUAL = str(Path(__file__).parent / "extending" / "residual.py")


def first_step(*overrides: str, row: int | None = None) -> Step:
    """Return the first step of an untrained network; by default on the first batch."""
    chosen = config(*overrides)
    return take_step(chosen, load_dataset(chosen.dataset), row, Trust.OWN)


def before(step: Step) -> dict[str, Tensor]:
    """Return the weights before a step, by the tutorials' names: fc1.weight and so on."""
    return {f"fc{of.layer + 1}.{of.kind}": of.before.clone() for of in step.parameters}


def check(step: Step, model: nn.Module, optimizer: optim.Optimizer, tolerance: float = 1e-6) -> None:
    """Check a step's gradients and new weights against those of a model whose `backward` has been called."""
    for of in step.parameters:
        theirs = model.get_parameter(f"fc{of.layer + 1}.{of.kind}")
        for ours in (of.gradient.by_hand, of.gradient.autograd, of.clipped):
            torch.testing.assert_close(ours, theirs.grad, rtol=1e-5, atol=tolerance)
    optimizer.step()
    for of in step.parameters:
        theirs = model.get_parameter(f"fc{of.layer + 1}.{of.kind}").detach()
        torch.testing.assert_close(of.after, theirs, rtol=1e-5, atol=tolerance)


class Line(nn.Module):
    """The model of tutorial 003."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return y."""
        y: Tensor = self.fc1(x)
        return y


class Mlp(nn.Module):
    """The model of tutorial 001."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(2, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the probability."""
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(x))))


def test_the_gradients_of_tutorial_003() -> None:
    """y = 2x + 1 with nn.Linear, MSELoss and SGD with lr = 0.1: weight.grad, bias.grad and the update."""
    plain = ("dataset=line", "dataset.standardize=false", "dataset.noise=0", "model=linear")
    step = first_step(*plain, "optimizer=sgd", "optimizer.lr=0.1")
    x, y, model = step.raw, step.targets, Line()
    model.load_state_dict(before(step))
    predicted = model(x)
    loss = nn.MSELoss()(predicted, y)
    loss.backward()
    assert step.loss == pytest.approx(loss.item())
    weight, bias = step.parameters
    error = (predicted - y).detach()
    assert float(weight.gradient.value) == pytest.approx(float((2 * error * x).mean()), rel=1e-5)
    assert float(bias.gradient.value) == pytest.approx(float((2 * error).mean()), rel=1e-5)
    assert (weight.before.shape, bias.before.shape) == ((1, 1), (1,))
    check(step, model, optim.SGD(model.parameters(), lr=0.1))


def test_the_derivation_of_tutorial_001() -> None:
    """Two inputs, four hidden units with ReLU and a sigmoid: BCELoss, and Adam with lr = 0.05."""
    step = first_step(*MOONS, "optimizer.lr=0.05")
    x, model = step.inputs, Mlp()
    y = step.targets[:, None].float()
    model.load_state_dict(before(step))
    probability = model(x)
    loss = nn.BCELoss()(probability, y)
    loss.backward()
    assert step.loss == pytest.approx(loss.item())
    hidden, output = step.layers
    z1, a1 = (stage.values for stage in hidden.stages)
    w1, b1, w2, b2 = (of.before for of in step.parameters)
    torch.testing.assert_close(z1, x @ w1.T + b1)
    torch.testing.assert_close(a1, z1.clamp_min(0))
    torch.testing.assert_close(output.output, a1 @ w2.T + b2)
    delta2 = (probability.detach() - y) / len(y)
    delta1 = (delta2 @ w2) * (z1 > 0)
    exact = {"rtol": 1e-5, "atol": 1e-8}
    torch.testing.assert_close(output.delta.by_hand, delta2, **exact)
    torch.testing.assert_close(hidden.back, delta2 @ w2, **exact)
    torch.testing.assert_close(hidden.slopes, (z1 > 0).float())
    torch.testing.assert_close(hidden.delta.by_hand, delta1, **exact)
    torch.testing.assert_close(step.parameters[0].gradient.by_hand, delta1.T @ x, rtol=1e-5, atol=1e-7)
    check(step, model, optim.Adam(model.parameters(), lr=0.05))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "overrides",
    [
        ("model.activation=tanh", "loss=focal"),
        ("model.activation=gelu", "model.dropout=0.5"),
        ("trainer.batch_size=7", "trainer.class_weight=balanced", "trainer.clip_norm=0.01"),
        ("dataset=diabetes", "loss=huber"),
        ("dataset=diabetes", "loss=poisson"),
        ("dataset=iris", "model.bias=false", "model.hidden=[3,3]"),
        ("dataset=diabetes", "model.embedding=periodic", "model.input_scale=true", "model.dropout=0.1"),
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_by_hand_and_autograd_agree(overrides: tuple[str, ...]) -> None:
    chosen = overrides if overrides[0].startswith("dataset=") else (MOONS[0], *overrides)
    for row in (None, 2):
        step = first_step("model=mlp", *chosen, row=row)
        assert step.by_hand
        assert len(step.losses) == (1 if row else len(step.rows))
        assert step.difference is not None
        assert step.difference <= 1e-6 * max(1.0, step.norm)


@pytest.mark.parametrize(
    "overrides", [(), ("trainer.batch_size=64", "model.dropout=0.2", "scheduler=cosine")]
)
def test_a_run_goes_on_with_the_step_that_is_shown(
    overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last checkpoint, with Adam's averages; its weights afterwards are those of `resume`."""
    monkeypatch.chdir(tmp_path)
    size = ("trainer.checkpoint_every=1steps", "trainer.keep_last=20")
    train = ("train", *MOONS, *QUIET, *size, *overrides, f"run.dir={RUN.path}")
    assert command([*train, "trainer.epochs=3"]) == 0
    stored = checkpoint.load(RUN.last, checkpoint.KINDS)
    longer = stored.config.model_copy(
        update={"trainer": stored.config.trainer.model_copy(update={"epochs": 4})}
    )
    shown = take_step(longer, load_dataset(longer.dataset), None, Trust.OWN, stored.state)
    assert command(["resume", str(RUN.path), "trainer.epochs=4"]) == 0
    step = stored.state.progress.step
    later = [path for path in [*RUN.older(), RUN.last] if path.stem == f"step-{step + 1:09d}"] or [RUN.last]
    found = checkpoint.load(later[0], checkpoint.KINDS).state
    assert found.progress.step == step + 1 == shown.step + 1
    for of in shown.parameters:
        assert torch.equal(of.before, stored.state.model[of.name])
        torch.testing.assert_close(of.after, found.model[of.name])
        torch.testing.assert_close(of.state["exp_avg"], found.optimizer[f"{of.name}/exp_avg"])


def test_pictures_are_shown_as_they_were_augmented() -> None:
    pictures = ("dataset=digits", "model=logistic", "trainer.batch_size=3")
    plain, turned = first_step(*pictures), first_step(*pictures, "dataset.augment.rotation=20")
    assert (plain.is_augmented, turned.is_augmented) == (False, True)
    assert torch.equal(plain.raw, turned.raw)
    assert not torch.equal(plain.inputs, turned.inputs)
    weight = turned.parameters[0].gradient.by_hand
    torch.testing.assert_close(weight, turned.layers[0].delta.value.T @ turned.inputs, rtol=1e-4, atol=1e-6)


def test_the_letters_of_a_formula_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    line = ("dataset=line", "model=linear", "--row", "1")
    assert "\nŷ is z₁; y is the target\n" in printed(capsys, *line)
    scaled = printed(capsys, *line, "dataset.standardize=true", "loss=huber")
    assert "\nŷ is z₁; y is the target as the loss takes it, scaled like the output\n" in scaled
    assert "ŷ" not in printed(capsys, *MOONS)


def test_the_weights_of_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *MOONS, "trainer.class_weight={upper: 1, lower: 3}", "--row", "3")
    assert "\n  loss = w ℓ\n" in text
    assert "\n  δ₂ = ∂loss/∂z₂ = w ∂ℓ/∂z₂  (1, 1)\n" in text


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what `mlpkit explain` prints."""
    capsys.readouterr()
    assert command(["explain", *arguments]) == 0
    return capsys.readouterr().out


def test_it_prints_each_part_with_its_formula(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *MOONS, "--row", "3")
    assert text.startswith("moons, mlp 2-4-1: step 1 of training, on row 3\nweights: the first ones (init=")
    assert "rows: row 3 of the 300 of the split train" in text
    for formula in (
        "z₁ = W₁ x + b₁  (4, 1)",
        "a₁ = relu(z₁)  (4, 1)",
        "z₂ = W₂ a₁ + b₂  (1, 1)",
        "ℓ = -log σ(z) where y = 1 and -log(1 - σ(z)) where y = 0",
        "δ₂ = ∂loss/∂z₂ = ∂ℓ/∂z₂  (1, 1)",
        "∂ℓ/∂z = σ(z) - y",
        "∂loss/∂W₂ = δ₂ a₁ᵀ  (1, 4)",
        "δ₁ = ∂loss/∂z₁ = (W₂ᵀ δ₂) ⊙ relu′(z₁)  (4, 1)",
        "∂loss/∂W₁ = δ₁ xᵀ  (4, 2)",
        "∂loss/∂b₁ = δ₁  (4)",
        "v ← 0.999 v + 0.001 g²; v is exp_avg_sq",
    ):
        assert f"\n  {formula}\n" in text
    assert "loss=binary_cross_entropy: binary cross-entropy on a sigmoid (torch BCEWithLogitsLoss)" in text
    assert "optimizer: adam, lr = 0.001\n" in text
    tables = [line for line in text.splitlines() if re.search(r"\d\.\d{4}", line)]
    assert max(map(len, tables)) <= 80
    assert re.search(r"^the gradients by hand and those of torch.autograd (are equal|differ by)", text, re.M)
    step = first_step(*MOONS, row=3)
    names = ["W₁[1, x1]", "W₁[1, x2]", "W₁[2, x1]"]
    for name, old, new in zip(
        names, step.parameters[0].before.view(-1), step.parameters[0].after.view(-1), strict=False
    ):
        (line,) = re.findall(rf"^{re.escape(name)} .* (?:\S+ +){{2}}\S+$", text.split("\nUpdate\n")[1], re.M)
        assert (line.split()[2], line.split()[-1]) == (f"{float(old):.6f}", f"{float(new):.6f}")


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (
            ("model.norm=batch", "trainer.batch_size=4"),
            ["BatchNorm1d: mean and variance over the rows of the batch", "BatchNorm1d of layer 1"],
        ),
        (
            ("model.norm=layer", "trainer.batch_size=4"),
            ["LayerNorm: mean and variance over the units of a row"],
        ),
        (
            ("model.dropout=0.5", "trainer.batch_size=4"),
            [
                "dropout: m₁ is 0 for the units dropped in this step, else 1 / (1 - rate)",
                "  a₁ = h₁ ⊙ m₁  (4, 4)",
            ],
        ),
    ],
)
def test_norms_and_dropout_are_shown(
    overrides: tuple[str, ...], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, *MOONS, *overrides, "--batch").splitlines()
    assert [line for line in lines if line not in text] == []
    alone = "only torch.autograd's gradients are shown, without the terms of those by hand (for the"
    assert any(line.startswith(alone) for line in text) == ("model.norm" in overrides[0])


def test_a_module_of_ones_own_has_the_gradients_of_autograd(
    own: object, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("dataset=moons", "model=residual", "model.width=3", "model.depth=1", "trainer.batch_size=4")
    text = printed(capsys, "--plugin", RESIDUAL, *small, "--batch")
    assert "is a module of a plug-in; its inside is not shown" in text
    assert "only torch.autograd's gradients are shown" in text.replace("\n  ", " ")
    assert "by hand  " not in text


UNDESCRIBED = """from typing import Literal
from mlpkit.config.activation import ActivationConfig
from mlpkit.config.loss import LossConfig
from mlpkit.config.registry import choice

@choice("activation")
class Sine(ActivationConfig):
    name: Literal["sine"]
    def function(self, z):
        return z.sin()
    def derivative(self, z):
        return z.cos()

@choice("loss")
class Half(LossConfig):
    name: Literal["half"]
    def per_example(self, outputs, targets):
        return (outputs - targets).square().mean(1) / 2
"""


def test_choices_without_a_docstring_are_shown_without_a_formula(
    own: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(UNDESCRIBED)
    text = printed(capsys, "--plugin", str(mine), *MOONS, "model.activation=sine", "loss=half")
    assert "loss=half: half on a sigmoid\n" in text
    assert "= sine(z₁)" in text
    assert "sine(z) = " not in text


def test_a_run_says_which_weights_it_starts_from(
    trained: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained["line"])
    text = printed(capsys, run)
    assert (
        f"weights: {run}/checkpoints/last.safetensors (last checkpoint, epoch 2, step 2), with the opt"
        in text
    )
    assert "\nstep = 3\n" in text
    best = printed(capsys, run, "--checkpoint", "best")
    assert re.search(r"\(best checkpoint, epoch \d, step \d\); the optimizer's state is not in it", best)


def test_a_page_and_a_markdown_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = printed(capsys, *MOONS, "--batch", "--output", "step.html")
    assert said == "moons, mlp 2-4-1: step 1 of training, on 300 rows: step.html\n"
    page = Path("step.html").read_text()
    assert "://" not in page and "src=" not in page, "it needs no network"
    assert "prefers-color-scheme: dark" in page
    formulas = re.findall(r"<math .*?</math>", page)
    assert [ElementTree.fromstring(formula).tag for formula in formulas] == ["math"] * len(formulas)
    assert mathml("∂loss/∂W₁ = δ₁ xᵀ") in page
    assert page.count("<tr>") > 3 * 300
    printed(capsys, *MOONS, "--output", "step.md")
    text = Path("step.md").read_text()
    assert "\n$\\frac{\\partial \\mathrm{loss}}{\\partial W_{1}} = \\delta_{1} x^{\\top}$ (4, 2)\n" in text
    assert "\n| W₁\\[1, x1\\] |" in text


def test_names_of_the_data_are_no_formulas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i / 9},{('a|b^2', '<i>x_1', '∂/$')[i % 3]}\n" for i in range(30))
    Path("own.csv").write_text(f"size,kind\n{rows}", encoding="utf-8")
    own = ("dataset=table", "dataset.path=own.csv", "dataset.target=kind", "model=logistic")
    printed(capsys, *own, "--output", "step.html")
    assert "<th></th><th>&lt;i&gt;x_1</th><th>a|b^2</th><th>∂/$</th>" in Path("step.html").read_text()
    printed(capsys, *own, "--output", "step.md")
    assert "\n|  | \\<i\\>x\\_1 | a\\|b^2 | ∂/\\$ |\n" in Path("step.md").read_text()


def test_formulas_in_mathml_and_latex() -> None:
    root = "θ ← θ - lr v / (√(v / (1 - 0.9ᵗ)) + 1e-08)"
    assert ElementTree.fromstring(mathml(root)).find("msqrt/mrow") is not None
    assert latex(root).count("{") == latex(root).count("}")
    assert r"lr v / ( \sqrt{ v / ( 1 - 0.9^{t} ) } + 1e-08 )" in latex(root).replace(r"\mathrm{lr}", "lr")
    assert latex("δ₁ = (W₂ᵀ δ₂) ⊙ relu′(z₁)") == (
        r"\delta_{1} = ( W_{2}^{\top} \delta_{2} ) \odot \mathrm{relu'} ( z_{1} )"
    )
    assert latex("log softmax(z)_y") == r"\mathrm{log} \mathrm{softmax} ( z )_{y}"
    assert "<mfrac><mrow><mo>∂</mo><mi>ℓ</mi></mrow>" in mathml("∂ℓ/∂z")


SMALLER = (
    "a step of up to 600 numbers is printed; write it with --output step.html, or choose a smaller network "
    "(model.hidden=[4])"
)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("dataset=moons", "model=mlp"), 2, f"explain: model=mlp has 4,417 parameters; {SMALLER}"),
        (
            (*MOONS, "--batch"),
            2,
            f"explain: the step has 11,4XX numbers; {SMALLER}, or --row 1 in place of --batch",
        ),
        ((*MOONS, "--row", "301"), 2, "--row=301: the split train has 300 rows; choose one of 1 to 300"),
        (
            (*MOONS, "--row", "2", "--batch"),
            2,
            "--row=2 --batch: a step is on one row or on a batch; give one",
        ),
        (
            (*MOONS, "model.norm=batch"),
            2,
            "--row=1: model.norm=batch needs two; change the batch size or set model.norm=layer, or explain "
            "a batch with --batch",
        ),
        ((*MOONS, "--output", "step.pdf"), 2, "--output=step.pdf: the ending must be one of .html, .md"),
        ((*MOONS, "--checkpoint", "x"), 2, "--checkpoint=x: must be best or last"),
        (
            (*MOONS, "optimizer.lr=0"),
            2,
            'optimizer.lr=0: must be a number > 0 or auto (learning rate; default "auto")',
        ),
        (
            (*MOONS, "init=constant", "init.value=1e38"),
            65,
            "the loss of this step is not finite; choose other weights or rows",
        ),
    ],
)
def test_what_cannot_be_explained(arguments: tuple[str, ...], code: int, line: str, refused: Refused) -> None:
    assert refused("explain", *arguments, code=code).startswith(line.split("11,4XX")[0])
