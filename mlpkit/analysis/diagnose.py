"""What the curves of a run say, and the override to try: each rule is a function of the evidence.

Losses are compared with that of a constant prediction, so that the same thresholds fit all tasks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlpkit.analysis.evidence import Evidence, NetworkFacts, read_evidence
from mlpkit.config.problems import plural
from mlpkit.system.console import number

MOST = 3  # findings that are told
FALLING = 0.01  # the loss falls by this part of a constant prediction's in a tenth of the run
STILL_BETTER = 0.0075  # the same, if the best epoch is the last
MANY_EPOCHS = 20  # of fewer, the last epoch is often the best by chance
RISE = 0.1  # a val loss so much above its lowest has risen
EXPLODING = 10  # times the gradient norm and the loss of the start
MOST_UNITS = 0.75  # of a layer; without standardised inputs, half are often dead from the start
HIGH_LR = 0.1  # above it, a tenth of the lr may be too high as well
NOTHING = 1e-3  # part of the highest lr with which nothing is learned any more


@dataclass(frozen=True)
class Finding:
    """One thing that a run's curves say.

    Attributes:
        kind: a few words, the same for all runs that have it.
        text: what was seen, with numbers.
        override: the setting to try.
    """

    kind: str
    text: str
    override: str

    def __str__(self) -> str:
        """Return it as a line."""
        return f"{self.kind}: {self.text}; try {self.override}"


Rule = Callable[[Evidence], Finding | None]


def diagnose(evidence: Evidence, told: tuple[Rule, ...] = ()) -> list[Finding]:
    """Return at most three findings, the most useful first.

    Args:
        evidence: what is known about the run.
        told: rules whose findings have been told already.
    """
    if failure := diverged(evidence):
        return [failure]
    if len(evidence.train.points) < 2:
        return []
    if cause := exploding(evidence) or no_gradient(evidence):
        return [cause]  # which explains what else there is to see
    found = (rule(evidence) for rule in RULES if rule not in told)
    return [finding for finding in found if finding][:MOST]


def diagnose_run(path: Path, network: NetworkFacts | None = None) -> list[Finding]:
    """Return the findings of a run folder; without `network`, those that need no weights.

    Raises:
        DataError: a file is damaged.
    """
    return diagnose(read_evidence(path, network))


def diverged(evidence: Evidence) -> Finding | None:
    """Training ended because a loss or a gradient was not finite."""
    place, _, _ = evidence.error.partition(": training diverged")
    if place == evidence.error:
        return None
    return Finding("diverged", place, _lower_lr(evidence))


def exploding(evidence: Evidence) -> Finding | None:
    """The gradient norm grew tenfold, and the loss with it."""
    norms, losses = evidence.curve("grad_norm").points, evidence.train.points
    if len(norms) < 2:
        return None
    start, (epoch, highest) = norms[0][1], max(norms, key=lambda point: point[1])
    peak = max(value for _, value in losses)
    if highest < EXPLODING * start or peak < EXPLODING * max(evidence.train.first, evidence.scale):
        return None
    optimizer, clip_norm = evidence.config.optimizer, evidence.config.trainer.clip_norm
    override = _lower_lr(evidence)
    if clip_norm is None and optimizer.name == "sgd":  # Adam's steps do not depend on the gradient's size
        override = "trainer.clip_norm=1"
    text = f"the gradient norm rose from {number(start)} to {number(highest)} in epoch {epoch}"
    return Finding("exploding gradients", text, override)


def no_gradient(evidence: Evidence) -> Finding | None:
    """The model learns nothing, or as if each layer had one unit, since no gradient tells units apart."""
    config, train = evidence.config, evidence.train
    loss = number(train.last)
    is_constant = config.init.name in ("zeros", "constant") and not config.model.has_one_layer
    if is_constant and train.last > 0.5 * evidence.scale and not getattr(config.model, "dropout", 0):
        text = f"with init={config.init.name} all units of a layer stay the same; the train loss is {loss}"
        return Finding("no gradient", text, "init=default")
    norms = evidence.curve("grad_norm")
    if not norms.points or norms.last > 1e-6 * evidence.scale or not evidence.explains_nothing:
        return None
    text = f"it is 0, and the train loss stays at {loss}"
    if config.init.name != "default":
        return Finding("no gradient", text, "init=default")
    return Finding("no gradient", text, _lower_lr(evidence))  # steps that are too large leave dead units


def lr_decayed(evidence: Evidence) -> Finding | None:
    """The schedule has made the learning rate so small that nothing was learned for much of the run."""
    lrs, config = evidence.curve("lr").points, evidence.config
    highest = max(value for _, value in lrs)
    decay = [(epoch, lr / highest) for epoch, lr in lrs[[lr for _, lr in lrs].index(highest) :]]
    gone = next((epoch for epoch, part in decay if part <= NOTHING), None)
    last = lrs[-1][0]
    if gone is None or decay[-1][1] > NOTHING or last - gone < last / 4:
        return None  # a schedule that ends in 0 has done its work
    before = evidence.train.until(next(epoch for epoch, part in decay if part <= 0.1))
    if len(before.points) < 2 or before.recent_fall() < FALLING / 10 * evidence.scale:
        return None  # nothing was left to learn
    overrides = {
        "step": f"scheduler.step_size={max(1, last // 3)}",
        "multistep": f"scheduler.milestones=[{last // 2},{last * 3 // 4}]",
        "exponential": f"scheduler.gamma={0.01 ** (1 / last):.4g}",
    }
    text = f"to {lrs[-1][1]:.2g}, below a thousandth of its start from epoch {gone} on"
    text += ", while the loss still fell"
    return Finding("lr decayed", text, overrides.get(config.scheduler.name, "scheduler=cosine"))


def still_falling(evidence: Evidence) -> Finding | None:
    """Train and val loss were falling at the end: the run was too short, or its steps too small."""
    train, trainer = evidence.train, evidence.config.trainer
    if evidence.result.status not in ("done", "stopped early"):
        return None
    fall, tenths = train.recent_fall(), len(train.points) / train.tenth
    is_slow = tenths >= 5 and 0 < (train.first - train.last) / tenths < 2 * fall  # as fast as on average
    has_fallen = min(fall, evidence.monitored.recent_fall()) > FALLING * evidence.scale
    if not has_fallen and not (is_slow and evidence.explains_nothing):
        return None
    text = f"from {number(train.last + fall)} to {number(train.last)} on train {train.recently}"
    override = f"trainer.epochs={2 * trainer.epochs}"
    if is_slow:
        override = f"optimizer.lr={10 * evidence.config.optimizer.lr:g}"
    elif trainer.time_limit is not None and train.points[-1][0] < trainer.epochs:
        override = f"trainer.time_limit={2 * trainer.time_limit:g}"
    return Finding("loss still falling", text, override)


def overfitting(evidence: Evidence) -> Finding | None:
    """The val loss has risen since an epoch, while the train loss went on falling."""
    train, monitored, config = evidence.train, evidence.monitored, evidence.config
    if monitored is train or evidence.result.status == "stopped early":
        return None  # early stopping has kept the best epoch
    epoch, lowest = monitored.lowest
    end = monitored.last
    if monitored.tenth == 1:  # the last epoch alone may be high by chance
        end = min(value for _, value in monitored.points[-2:])
    rise, at_lowest = end - lowest, train.until(epoch)
    if rise < max(RISE * lowest, FALLING * evidence.scale) or not at_lowest.points:
        return None
    if train.last >= at_lowest.points[-1][1]:
        return None
    split = evidence.result.best.split if evidence.result.best else "val"
    text = f"since epoch {epoch} the {split} loss rose from {number(lowest)} to {number(monitored.last)}"
    text += f", the train loss fell to {number(train.last)}"
    if config.trainer.early_stopping.patience is None:
        return Finding("overfitting", text, "trainer.early_stopping.patience=20")
    if getattr(config.model, "dropout", None) == 0:
        return Finding("overfitting", text, "model.dropout=0.2")
    decay = getattr(config.optimizer, "weight_decay", 0.0)
    return Finding("overfitting", text, f"optimizer.weight_decay={10 * decay or 0.01:g}")


def dead_units(evidence: Evidence) -> Finding | None:
    """Most ReLU units of a layer are 0 on every training row: they learn nothing."""
    dead = evidence.network.dead if evidence.network else ()
    name, count, units = max(dead, key=lambda layer: layer[1] / layer[2], default=("", 0, 1))
    if count < MOST_UNITS * units:
        return None
    text = f"{count} of {plural(units, 'ReLU unit')} in {name} are 0 on every training row"
    if getattr(evidence.config.model, "activation", "") == "relu":
        return Finding("dead units", text, "model.activation=leaky_relu")
    return Finding("dead units", text, _lower_lr(evidence))


def never_predicted(evidence: Evidence) -> Finding | None:
    """No training row is predicted as one of the classes that it has."""
    missing = evidence.network.never_predicted if evidence.network else ()
    if not missing or evidence.explains_nothing:
        return None
    names = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
    trainer = evidence.config.trainer
    override = f"trainer.epochs={2 * trainer.epochs}"
    if trainer.class_weight == "none":
        override = "trainer.class_weight=balanced"
    text = f"no training row is predicted as {names}"
    return Finding("class never predicted", text, override)


def best_is_last(evidence: Evidence) -> Finding | None:
    """The best epoch is the last, and the monitored loss was still falling there, if slowly."""
    best, monitored, trainer = evidence.result.best, evidence.monitored, evidence.config.trainer
    last = evidence.train.points[-1][0]
    if best is None or best.epoch < last or last < MANY_EPOCHS or still_falling(evidence):
        return None
    if evidence.result.status == "pruned" or monitored.recent_fall() < STILL_BETTER * evidence.scale:
        return None
    before, after = number(monitored.last + monitored.recent_fall()), number(monitored.last)
    text = f"the {best.split} loss fell from {before} to {after} {monitored.recently}"
    return Finding("best epoch is the last", text, f"trainer.epochs={2 * trainer.epochs}")


def baseline_not_beaten(evidence: Evidence) -> Finding | None:
    """A constant prediction is as good on the final split."""
    if not evidence.baseline:
        return None
    text = f"not better than predicting the {evidence.baseline} for every row"
    lr = evidence.config.optimizer.lr
    override = "model=mlp" if evidence.config.model.has_one_layer else f"optimizer.lr={10 * lr:g}"
    return Finding("baseline not beaten", text, override)


RULES: tuple[Rule, ...] = (
    lr_decayed,
    still_falling,
    overfitting,
    dead_units,
    never_predicted,
    best_is_last,
    baseline_not_beaten,
)


def count_kinds(findings: Mapping[Path, list[Finding]]) -> dict[str, int]:
    """Return how many runs have each kind of finding, the most frequent first."""
    counts: dict[str, int] = {}
    for found in findings.values():
        for finding in found:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _lower_lr(evidence: Evidence) -> str:
    return f"optimizer.lr={min(evidence.config.optimizer.lr / 10, HIGH_LR):g}"
