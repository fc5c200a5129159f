"""Whatever is wrong with a command line or a config gets one line that says the way out, and exit code 2."""

import functools
import os
import random
from pathlib import Path

import pytest
import torch
from conftest import Refused
from faulty_yaml import FAULTS
from hydra import compose as hydra_compose
from running import config, mlpkit

from mlpkit.cli.compose import Request, compose
from mlpkit.cli.main import run as command
from mlpkit.config import search_path
from mlpkit.config.config import Config, parse, to_dict
from mlpkit.config.nested import items, replace
from mlpkit.errors import ConfigError

CHOICES = {
    group: ", ".join(sorted(choices))
    for group, choices in search_path.groups([search_path.packaged()]).items()
}
KEYS = "known keys are format, seed, device, dataset, model, loss, optimizer, scheduler, init, trainer, run"
LR = 'must be a number > 0 or auto (learning rate; default "auto")'
FINITE = 'must be a finite number > 0 or auto (learning rate; default "auto")'
WIDTH = "must be an integer ≥ 1 and ≤ 65536"
HIDDEN = (
    f"must be a list of 1 or more values, each {WIDTH[8:]} (widths of the hidden layers; default [64, 64])"
)
BETAS = (
    "must be a list of 2 values, each a number ≥ 0 and < 1 "
    "(decay of the averages of the gradient and of its square; default [0.9, 0.999])"
)
EPOCHS = (
    "must be an integer ≥ 0 and ≤ 1000000000 (passes over the training data; 0: the untrained network; "
    "default 1000)"
)
BATCH = 'must be an integer ≥ 1 and ≤ 1000000000 or full (rows in a batch; full: all rows; default "full")'
EVERY = (
    "must be an integer ≥ 1 and ≤ 1000000000 or text such as 500steps or 30s "
    '(epochs, steps or seconds between two checkpoints; default "30s")'
)
SEED = (
    "must be an integer ≥ 0 and < 9223372036854775808 "
    "(seed of weights, data order, dropout and augmentation; default 0)"
)
DEVICE = 'must be auto, cpu, cuda or cuda:N (where to compute; default "auto")'
DASHES = "settings have no dashes, as in optimizer.lr=0.01"
NO_FOLDER = "cannot make the run folder (Not a directory); choose another run.root"
NAME = "must be a name of letters, digits, _ . + - or null (group of runs in root; null: <dataset>-<model>)"
ACTIVATION = (
    "must be one of relu, leaky_relu, prelu, elu, gelu, silu, mish, selu, softplus, tanh, sigmoid, identity "
    '(function between the layers; default "relu")'
)
SWEEP = "several values make a sweep; run it by mlpkit train -m, or give one value"
SEARCH = "an interval is searched; run it by mlpkit train -m --search tpe, or give one value"
INSIDE = "several values cannot stand inside a value; write model.hidden=choice(A,B)"
RANGE = "a range has finite ends and a step other than 0; write range(0,8)"
ENDS = "an interval has two finite ends; write interval(LOW,HIGH), the lower first"
NOT_SET = "NOT_SET is not set; set it, or give a default: ${oc.env:NOT_SET,DEFAULT}"
FILL = "only ${other.key} can be filled in; write the value"
NO_KEY = "is not a key; write key=value, such as optimizer.lr=0.01"
HYDRA = "mlpkit has no hydra section"
LAUNCHER = "write --launcher vectorized, processes, dask, ray or slurm; see --workers"
OPTION = "an option of Hydra's that mlpkit does not have"
MLP = (
    "model=mlp has members, hidden, activation, dropout, dropout_kind, embedding, "
    "embedding_frequencies, embedding_std, embedding_width, norm, bias, input_scale, input_scale_lr"
)
MOONS = "dataset=moons has seed, val_fraction, standardize, n, test_fraction, noise"

HINT = " (a plug-in's needs --plugin FILE)"
MON = f"dataset=mon: no such dataset; choose one of {CHOICES['dataset']}{HINT}; did you mean moons?"

SCHEMA = Config.model_json_schema()
RULES = {"dataset", "optimizer", "trainer"}  # sections with a rule about several keys


def unreadable(text: str, key: str) -> str:
    return (
        f"{text}: the value cannot be read; lists are {key}=[4,2], and text with special characters "
        f"goes in quotes: '{key}=\"…\"'"
    )


NUMBERS = [
    ("optimizer.lr=abc", f"optimizer.lr='abc': {LR}"),
    ("optimizer.lr=nan", f"optimizer.lr=nan: {FINITE}"),
    ("optimizer.lr=-inf", f"optimizer.lr=-inf: {FINITE}"),
    ("optimizer.lr=1e400", f"optimizer.lr=inf: {FINITE}"),
    ("optimizer.lr=", f"optimizer.lr='': {LR}"),
    ("optimizer.lr=-0.1", f"optimizer.lr=-0.1: {LR}"),
    ("optimizer.lr=0", f"optimizer.lr=0: {LR}"),
    ("optimizer.lr=1e-400", f"optimizer.lr=0.0: {LR}"),
    ("optimizer.lr=null", f"optimizer.lr=null: {LR}"),
    ("optimizer.lr=true", f"optimizer.lr=true: {LR}"),
    ("optimizer.lr=on", f"optimizer.lr='on': {LR}"),
    ("optimizer.lr=010", f"optimizer.lr='010': {LR}"),
    ("optimizer.lr=12:30:45", f"optimizer.lr='12:30:45': {LR}"),
    ('optimizer.lr="0.1"', f"optimizer.lr='0.1': {LR}"),
    ('optimizer.lr="１"', f"optimizer.lr='１': {LR}"),
    ("optimizer.lr=0x10", f"optimizer.lr='0x10': {LR}"),
    ("optimizer.lr=1e", f"optimizer.lr='1e': {LR}"),
    ("optimizer.lr=10%", f"optimizer.lr='10%': {LR}"),
    ("optimizer.lr=[0.1]", f"optimizer.lr=[0.1]: {LR}"),
    ("optimizer.lr={a:1}", f'optimizer.lr={{"a": 1}}: {LR}'),
    ("optimizer.lr.x.y=1", f'optimizer.lr={{"x": {{"y": 1}}}}: {LR}'),
    ("trainer.epochs=1.5", f"trainer.epochs=1.5: {EPOCHS}"),
    ("trainer.epochs=1e3", f"trainer.epochs=1000.0: {EPOCHS}"),
    ("trainer.epochs=true", f"trainer.epochs=true: {EPOCHS}"),
    ("trainer.epochs=-1", f"trainer.epochs=-1: {EPOCHS}"),
    ("trainer.epochs=" + "9" * 80, f"trainer.epochs={'9' * 57}...: {EPOCHS}"),
    ("trainer.batch_size=1000000000000", f"trainer.batch_size=1000000000000: {BATCH}"),
    ("trainer.batch_size=10**12", f"trainer.batch_size='10**12': {BATCH}"),
    ("trainer.batch_size=half", f"trainer.batch_size='half': {BATCH}"),
    ("trainer.checkpoint_every=30m", f"trainer.checkpoint_every='30m': {EVERY}"),
    ("seed=-1", f"seed=-1: {SEED}"),
    ("seed=1e3", f"seed=1000.0: {SEED}"),
    ("seed=9223372036854775808", f"seed=9223372036854775808: {SEED}"),
    ("seed.x=1", f'seed={{"x": 1}}: {SEED}'),
    (
        "dataset.seed=4294967296",
        "dataset.seed=4294967296: must be an integer ≥ 0 and < 4294967296 "
        "(seed of the samples, the noise and the split; default 0)",
    ),
    (
        "dataset.val_fraction=1",
        "dataset.val_fraction=1: must be a number ≥ 0 and < 1 "
        "(share of the rows held out to monitor training; default 0.2)",
    ),
    (
        "dataset.n=1",
        "dataset: val_fraction=0.2 and test_fraction=0.2 of 1 row leave no row to val; "
        "change the fractions or have more rows",
    ),
    (
        "init.bias=x",
        "init.bias='x': must be a number or default (first value of the biases; default \"default\")",
    ),
    ("format=4", "format=4: this mlpkit reads up to format 3; upgrade mlpkit"),
    ("format=true", "format=true: must be an integer ≥ 1 (version of this schema; default 3)"),
]

LISTS = [
    ("model.hidden=[0]", f"model.hidden[0]=0: {WIDTH}"),
    ("model.hidden=[4,-1,x,2]", f"model.hidden[1]=-1: {WIDTH}\nmodel.hidden[2]='x': {WIDTH}"),
    ("model.hidden=[]", f"model.hidden=[]: {HIDDEN}"),
    ("model.hidden=64", f"model.hidden=64: {HIDDEN}"),
    ("model.hidden=null", f"model.hidden=null: {HIDDEN}"),
    ("model.hidden={a:1}", f'model.hidden={{"a": 1}}: {HIDDEN}'),
    ("model.hidden.x=1", f'model.hidden={{"x": 1}}: {HIDDEN}'),
    ("model.hidden=[[4]]", f"model.hidden[0]=[4]: {WIDTH}"),
    ("model.hidden=[true]", f"model.hidden[0]=true: {WIDTH}"),
    ("model.hidden=[65537]", f"model.hidden[0]=65537: {WIDTH}"),
    ("model.hidden=[" + "4," * 100 + "4]", f"model.hidden=[{'4, ' * 18}4,...: {HIDDEN}"),
    ("model.hidden=[4,2", unreadable("'model.hidden=[4,2'", "model.hidden")),
    ("model.hidden=[4,]", unreadable("'model.hidden=[4,]'", "model.hidden")),
    ("model.hidden=(4,2)", unreadable("'model.hidden=(4,2)'", "model.hidden")),
    ("optimizer.betas=[]", f"optimizer.betas=[]: {BETAS}"),
    ("optimizer.betas=[0.9]", f"optimizer.betas=[0.9]: {BETAS}"),
    ("optimizer.betas=[0.9,0.99,0.999]", f"optimizer.betas=[0.9, 0.99, 0.999]: {BETAS}"),
    ("optimizer.betas=[0.9,1.0]", "optimizer.betas[1]=1.0: must be a number ≥ 0 and < 1"),
]

TEXTS = [
    ("device=tpu", f"device='tpu': {DEVICE}"),
    ("device=", f"device='': {DEVICE}"),
    ("device=cuda:x", f"device='cuda:x': {DEVICE}"),
    ("model.activation=rellu", f"model.activation='rellu': {ACTIVATION}{HINT}; did you mean relu?"),
    ("model.activation=null", f"model.activation=null: {ACTIVATION}"),
    ("run.plots=yes", "run.plots='yes': must be true or false (draw pictures at the end; default true)"),
    ("run.plots=1", "run.plots=1: must be true or false (draw pictures at the end; default true)"),
    ("run.root=", "run.root='': must be text that is not empty (folder of all runs; default \"outputs\")"),
    (
        "run.root=null",
        'run.root=null: must be text that is not empty (folder of all runs; default "outputs")',
    ),
    *(
        (
            f"run.name={text}",
            f"run.name={text}: {NAME}; it is read as {read}, so quote it: 'run.name=\"{text}\"'",
        )
        for text, read in {
            "2024_01_02": "20240102",
            "1.10": "1.1",
            "1e3": "1000.0",
            "nan": "nan",
            "TRUE": "true",
        }.items()
    ),
    ("+run.name=1_0", f"run.name=1_0: {NAME}; it is read as 10, so quote it: 'run.name=\"1_0\"'"),
    ('run.name=int("3")', f"run.name=3: {NAME}; text goes in quotes"),
    ("device=1e3", f"device=1e3: {DEVICE}"),  # which no quotes would mend
    ("run.name=12:30:45", f"run.name='12:30:45': {NAME}"),
    ("run.name=a/b", f"run.name='a/b': {NAME}"),
    ("run.name=..", f"run.name='..': {NAME}"),
    ('run.name="\x1b[31mred"', f"run.name='\\x1b[31mred': {NAME}"),
    ('run.name="[red]x[/red]"', f"run.name='[red]x[/red]': {NAME}"),
    ("run.name=[red]", f'run.name=["red"]: {NAME}'),
    ('run.name="a\nb"', f"run.name='a\\nb': {NAME}"),
    ('run.name="ünï"', f"run.name='ünï': {NAME}"),
    ('run.name="\udcff"', f"run.name='\\udcff': {NAME}"),
    ('run.name="\u202ex"', f"run.name='\\u202ex': {NAME}"),
    (f"run.name={'x' * 300}", f"run.name='{'x' * 56}...: {NAME}"),
]

KEYS_AND_GROUPS = [
    ("optimizer.lrr=1", "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
    ("+optimizer.lrr=1", "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
    ("++optimizer.lrr=1", "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
    ("sed=1", "sed: unknown key; did you mean seed?"),
    ("lr=0.1", "lr: unknown key; did you mean optimizer.lr?"),
    ("max_epochs=10", "max_epochs: unknown key; it is called trainer.epochs here"),
    ("dataset.test_size=0.2", "dataset.test_size: unknown key; it is called dataset.test_fraction here"),
    ("moons", "'moons': no value; write dataset=moons"),
    ("scheduler.warmup_steps=1000", "scheduler.warmup_steps=1000: the run has 1,000 steps; choose fewer"),
    ("a.b.c.d=1", "a: unknown key; did you mean init.a?"),
    ("x" * 200 + "=1", f"'{'x' * 56}...: unknown key; {KEYS}"),
    ("dataset.low=5", f"dataset.low: unknown key; {MOONS}"),
    ("dataset/mine=moons", "dataset/mine: unknown key; did you mean dataset?"),
    ("_target_=os.system", f"_target_: unknown key; {KEYS}"),
    ("model._target_=os.system", f"model._target_: unknown key; {MLP}"),
    ("model={_target_:os.system,name:mlp}", f"model._target_: unknown key; {MLP}"),
    (
        "optimizer.name=sgd",
        "optimizer.lr='auto': must be a number > 0 (learning rate; default 0.001)\n"
        "optimizer.betas: unknown key; optimizer=sgd has lr, momentum, dampening, weight_decay, nesterov; "
        "optimizer=adam, adamw, lion, muon, … have it\n"
        "optimizer.eps: unknown key; optimizer=sgd has lr, momentum, dampening, weight_decay, nesterov; "
        "optimizer=adam, adamw, muon, nadam, … have it",
    ),
    (
        "optimizer.name=adagrad",
        "optimizer.name='adagrad': must be one of adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd "
        "(a plug-in's needs --plugin FILE)",
    ),
    (
        "optimizer.name=null",
        "optimizer.name=null: must be one of adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd",
    ),
    (
        "optimizer={name:[1]}",
        "optimizer.name=[1]: must be one of adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd",
    ),
    ("dataset=mon", MON),
    ("dataset=", f"dataset=: no such dataset; choose one of {CHOICES['dataset']}"),
    ("dataset=null", f"dataset=null: no such dataset; choose one of {CHOICES['dataset']}"),
    ("dataset=5", f"dataset=5: no such dataset; choose one of {CHOICES['dataset']}"),
    ("dataset=???", f"dataset=???: no such dataset; choose one of {CHOICES['dataset']}"),
    (
        "dataset=../dataset/moons",
        f"dataset=../dataset/moons: no such dataset; choose one of {CHOICES['dataset']}",
    ),
    ("run=[]", f"run=[]: no such run; choose one of {CHOICES['run']}"),
    ("trainer=5", f"trainer=5: no such trainer; choose one of {CHOICES['trainer']}"),
    ("experiment=", f"experiment=: no such experiment; choose one of {CHOICES['experiment']}"),
    ("dataset@x=moons", "dataset@x=moons: packages (@) are not taken here; write dataset=NAME"),
    ("trainer={epochs:-1}", f"trainer.epochs=-1: {EPOCHS}"),
    (
        "trainer.early_stopping=5",
        "trainer.early_stopping=5: must be a section of keys, such as trainer.early_stopping.patience=…",
    ),
    ("~model", "model: missing; must be a section with a name, one of linear, logistic, mlp, tabm"),
    ("~model=mlp", "model: missing; must be a section with a name, one of linear, logistic, mlp, tabm"),
    ("~model=linear", "~model=linear: model has another value; write ~model"),
    ("~optimizer.lr=5", "~optimizer.lr=5: optimizer.lr has another value; write ~optimizer.lr"),
    ("~nothing", "~nothing: there is no such key to delete; leave it out"),
    ("~model.hidden.0", "~model.hidden.0: there is no such key to delete; leave it out"),
    ("hydra.run.dir=x", f"hydra.run.dir=x: {HYDRA}; write run.dir=DIR"),
    ("hydra.sweep.dir=x", f"hydra.sweep.dir=x: {HYDRA}; with -m, write run.dir=DIR"),
    ("hydra.job.name=x", f"hydra.job.name=x: {HYDRA}; write run.name=NAME"),
    ("hydra.job.chdir=1", f"hydra.job.chdir=1: {HYDRA}; mlpkit stays in the working directory; leave it out"),
    ("hydra.job.env_set.A=1", f"hydra.job.env_set.A=1: {HYDRA}; write NAME=VALUE in front of mlpkit"),
    ("hydra/launcher=basic", f"hydra/launcher=basic: {HYDRA}; {LAUNCHER}"),
    ("hydra.launcher.n_jobs=2", f"hydra.launcher.n_jobs=2: {HYDRA}; {LAUNCHER}"),
    ("+hydra.searchpath=[x]", f"+hydra.searchpath=[x]: {HYDRA}; write --config-dir DIR"),
    ("~hydra", f"~hydra: {HYDRA}; set run.root or run.dir for the folder"),
]

SYNTAX = [
    ("optimizer.lr", "'optimizer.lr': no value; write optimizer.lr=VALUE"),
    ("", f"'': '' {NO_KEY}"),
    ("=", f"'=': '' {NO_KEY}"),
    ("=1", f"'=1': '' {NO_KEY}"),
    ("++", f"'++': '++' {NO_KEY}"),
    ("~", f"'~': '~' {NO_KEY}"),
    ("~~model", f"'~~model': '~~model' {NO_KEY}"),
    (".a=1", f"'.a=1': '.a' {NO_KEY}"),
    ("optimizer..lr=1", f"'optimizer..lr=1': 'optimizer..lr' {NO_KEY}"),
    ("model.hidden[0]=5", f"'model.hidden[0]=5': 'model.hidden[0]' {NO_KEY}"),
    ("seed = 1", f"'seed = 1': 'seed ' {NO_KEY}"),
    ("dataset:moons", f"'dataset:moons': 'dataset:moons' {NO_KEY}"),
    ("[red]=1", f"'[red]=1': '[red]' {NO_KEY}"),
    ("ü=1", f"'ü=1': 'ü' {NO_KEY}"),
    ("a\nb=1", f"'a\\nb=1': 'a\\nb' {NO_KEY}"),
    ("\x1b[31m=1", f"'\\x1b[31m=1': '\\x1b[31m' {NO_KEY}"),
    ("\udcff=1", f"'\\udcff=1': '\\udcff' {NO_KEY}"),
    ("seed=1=2", unreadable("'seed=1=2'", "seed")),
    ("run.name=ünï", f"run.name='ünï': {NAME}"),
    ('run.name="', unreadable("'run.name=\"'", "run.name")),
    ("run.name=\x1b[31m", unreadable("'run.name=\\x1b[31m'", "run.name")),
    ("run.name=${${seed}}", unreadable("'run.name=${${seed}}'", "run.name")),
    ("run.name=" + "[" * 2000, unreadable(f"'run.name={'[' * 47}...", "run.name")),
    ("run.name=" + "{a:" * 1000, unreadable(f"'run.name={'{a:' * 15}{{a...", "run.name")),
    ("seed=" + "9" * 5000, unreadable(f"'seed={'9' * 51}...", "seed")),
    ("seed=foo(5)", unreadable("'seed=foo(5)'", "seed")),
    (
        "run.name=" + "x" * 100_000,
        f"'run.name={'x' * 47}...: 100009 characters; an override has at most 100000",
    ),
    ("optimizer.lr=0.1,0.2", f"optimizer.lr=0.1,0.2: {SWEEP} (a list is optimizer.lr=[…])"),
    ("model.hidden=4,2", f"model.hidden=4,2: {SWEEP} (a list is model.hidden=[…])"),
    ("dataset=moons,line", f"dataset=moons,line: {SWEEP} (a list is dataset=[…])"),
    ("seed=range(8)", f"seed=range(8): {SWEEP} (a list is seed=[…])"),
    ("seed=choice(1,2)", f"seed=choice(1,2): {SWEEP} (a list is seed=[…])"),
    ("optimizer.lr=interval(0,1)", f"optimizer.lr=interval(0,1): {SEARCH}"),
    ("seed=range(0)", "seed=range(0): stands for no value; give one or more"),
    ("seed=range(0,1,0)", f"seed=range(0,1,0): {RANGE}"),
    ("seed=range(0,inf)", f"seed=range(0,inf): {RANGE}"),
    ("seed=range(nan)", f"seed=range(nan): {RANGE}"),
    ("seed=glob(*)", "seed=glob(*): glob() picks choices of a group, which seed is not; write seed=A,B"),
    ("model=glob(x*)", f"model=glob(x*): stands for no value; choose from {CHOICES['model']}"),
    ("optimizer.lr=interval(1,0)", f"optimizer.lr=interval(1,0): {ENDS}"),
    ("optimizer.lr=interval(0,inf)", f"optimizer.lr=interval(0,inf): {ENDS}"),
    (
        "optimizer.lr=tag(log,interval(0,1))",
        "optimizer.lr=tag(log,interval(0,1)): an interval with a log tag lies above 0; raise its lower end",
    ),
    ("model.hidden=[range(3)]", f"model.hidden=[range(3)]: {INSIDE}"),
    ("model.hidden=[[4],[glob(*)]]", f"model.hidden=[[4],[glob(*)]]: {INSIDE}"),
    ("model.hidden={a:choice(1,2)}", f"model.hidden={{a:choice(1,2)}}: {INSIDE}"),
    ("model.hidden=4,range(3)", f"model.hidden=4,range(3): {INSIDE}"),
    ("model.hidden=[4],[interval(0,1)]", f"model.hidden=[4],[interval(0,1)]: {INSIDE}"),
    ("seed=choice()", unreadable("'seed=choice()'", "seed")),
    ("seed=choice(glob(*),1)", unreadable("'seed=choice(glob(*),1)'", "seed")),
    ("seed=interval(a,b)", unreadable("'seed=interval(a,b)'", "seed")),
    ("optimizer.lr=${oc.env:NOT_SET}", f"'optimizer.lr=${{oc.env:NOT_SET}}': {NOT_SET}"),
    ("model.hidden=[[${oc.env:NOT_SET}]]", f"'model.hidden=[[${{oc.env:NOT_SET}}]]': {NOT_SET}"),
    ("run.name=${oc.decode:x}", f"run.name='${{oc.decode:x}}': {FILL}"),
    ("run.name=${now:%Y}", f"run.name='${{now:%Y}}': {FILL}"),
    ('run.root="${run.${now:%Y}}"', f"run.root='${{run.${{now:%Y}}}}': {FILL}"),
    ("model.hidden=[[${now:%Y}]]", f"model.hidden[0][0]='${{now:%Y}}': {FILL}"),
    (
        "optimizer.lr=${nothere}",
        "optimizer.lr: Interpolation key 'nothere' not found; write the value, or ${other.key}",
    ),
    (
        "optimizer.lr=${optimizer.lr}",
        "optimizer.lr: Recursive interpolation detected; write the value, or ${other.key}",
    ),
    ("optimizer.lr=${seed}", f"optimizer.lr=0: {LR}"),
    ("optimizer.lr=???", "optimizer.lr=???: no value; write optimizer.lr=VALUE"),
]  # fmt: skip

SEVERAL = [
    (
        ["seed=1", "seed=2"],
        "seed: given twice (seed=1 and seed=2); keep one of them",
    ),
    (
        ["dataset=moons", "+dataset=line"],
        "dataset: given twice (dataset=moons and +dataset=line); keep one of them",
    ),
    (
        ["optimizer.lr=-1", "trainer.epochs=-1", "model.activation=x", "seed=a"],
        f"seed='a': {SEED}\nmodel.activation='x': {ACTIVATION}{HINT}\noptimizer.lr=-1: {LR}\n"
        f"trainer.epochs=-1: {EPOCHS}",
    ),
    (
        ["dataset=moons", "model=linear"],
        "model=linear: dataset=moons is a binary classification; use model=logistic, mlp or tabm",
    ),
    (
        ["dataset=digits", "model=linear"],
        "model=linear: dataset=digits is a multiclass classification; use model=logistic, mlp or tabm",
    ),
    (
        ["dataset=line", "model=logistic"],
        "model=logistic: dataset=line is a regression; use model=linear, mlp or tabm",
    ),
    (["--zip"], "--zip: only for a sweep; add -m"),
    (["--dry-run", "seed=1"], "--dry-run: only for a sweep; add -m"),
    (["--max-jobs", "3"], "--max-jobs=3: only for a sweep; add -m"),
    (["--launcher", "processes"], "--launcher=processes: only for a sweep; add -m"),
    (["--workers", "2"], "--workers=2: only for a sweep; add -m"),
    (["--slurm", "partition=x"], "--slurm=partition=x: only for a sweep; add -m"),
    (
        ["-m", "--cfg", "job", "seed=1,2"],
        "--cfg=job: a sweep has many configs; see --dry-run, or leave out -m",
    ),
    (
        ["-m", "--dry-run", "--launcher", "x", "seed=1,2"],
        "--launcher=x: must be dask, processes, ray, slurm or vectorized",
    ),
    (["-m", "seed=1,-1", "optimizer.lr=0.1,0"], f"optimizer.lr=0: {LR}\nseed=-1: {SEED}"),
    (["--multirun", "dataset=mon,moons"], MON),
    (
        ["-m", "--zip", "seed=1,2", "optimizer.lr=0.1,0.2,0.3"],
        "--zip: the lists differ in length: seed has 2, optimizer.lr has 3; "
        "give lists of one length, or single values",
    ),
    (
        ["-m", "--max-jobs", "7", "seed=range(2)", "optimizer.lr=0.1,0.2,0.3,0.4"],
        "--max-jobs=7: the sweep has 8 jobs (seed 2 × optimizer.lr 4); sweep fewer values or raise "
        "--max-jobs",
    ),
    (["--cfg", "job", "optimizer.lr=-1"], f"optimizer.lr=-1: {LR}"),
    (["--epochs", "5"], f"No such option: --epochs; {DASHES}; see mlpkit train --help"),
    (["--config"], "Option '--config' requires an argument; see mlpkit train --help"),
    (["--config", "none.yaml"], "none.yaml: no such file; name a YAML file"),
    (["--config", "."], ".: not a regular file; name a YAML file"),
    (["--config", "/dev/null"], "/dev/null: not a regular file; name a YAML file"),
    (["--config-dir", "none"], "--config-dir=none: no such folder"),
    (["-c", "all"], "--cfg=all: must be job, the config of the run; mlpkit has no hydra section"),
    (["-m", "-c", "hydra"], "--cfg=hydra: must be job, the config of the run; mlpkit has no hydra section"),
    (["-p", "optimizer"], "--package: only where the config is printed; add --cfg job"),
    (["--resolve"], "--resolve: only where the config is printed; add --cfg job"),
    (["-c", "job", "-p", "model.x"], "--package=model.x: no such key; `mlpkit config` shows all"),
    (["-cd", "none"], "--config-dir=none: no such folder"),
    (
        ["-cn", "mine"],
        f"-cn: {OPTION}; write --config FILE, or experiment=NAME for configs/experiment/NAME.yaml",
    ),
    (["--config-path=x"], f"--config-path: {OPTION}; write --config-dir DIR"),
    (
        ["--info", "defaults"],
        f"--info: {OPTION}; see mlpkit config --explain, mlpkit list and mlpkit doctor",
    ),
    (["--hydra-help"], f"--hydra-help: {OPTION}; see mlpkit --help"),
    (["--run"], f"--run: {OPTION}; train makes one run unless -m is given; leave it out"),
    (["-sc", "install=bash"], f"-sc: {OPTION}; see mlpkit completion --help"),
    (
        ["--experimental-rerun", "x"],
        f"--experimental-rerun: {OPTION}; mlpkit train --config RUN/config.yaml repeats a run",
    ),
]  # fmt: skip


@functools.cache
def merged(name: str, *choices: str) -> object:
    return hydra_compose(name, overrides=list(choices))


@pytest.fixture
def merged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge the same files, and draw up the schema, once for all rows: they differ in what is set."""
    monkeypatch.setattr(
        "mlpkit.cli.hydra_edge.hydra_compose", lambda name, overrides: merged(name, *overrides)
    )
    monkeypatch.setattr(Config, "model_json_schema", lambda: SCHEMA)


@pytest.mark.sampled(3)
@pytest.mark.usefixtures("merged_once")
@pytest.mark.parametrize(
    ("override", "message"), [*NUMBERS, *LISTS, *TEXTS, *KEYS_AND_GROUPS, *SYNTAX], ids=lambda text: text[:40]
)
def test_one_override(override: str, message: str, refused: Refused) -> None:
    assert refused("train", override, code=2) == message


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("arguments", "message"), SEVERAL)
def test_a_command_line(arguments: list[str], message: str, refused: Refused) -> None:
    assert refused("train", *arguments, code=2) == message


@pytest.mark.parametrize(
    "odd", [None, True, "x", "", -1, 0.5, 10**30, float("nan"), [], [None], {}, {"a": 1}]
)
@pytest.mark.parametrize(
    "choices",
    [
        (
            "dataset=digits",
            "optimizer=sgd",
            "scheduler=plateau",
            "init=kaiming_uniform",
            "trainer=mini_batch",
        ),
        ("dataset=line", "model=linear", "scheduler=onecycle", "init=constant"),
    ],
)
def test_an_odd_value_everywhere(odd: object, choices: tuple[str, ...]) -> None:
    """Each key takes the value, or has one line for itself; with those put right, the rest is valid."""
    good = to_dict(config(*choices))
    values = {key: value for key, value in items(good) if key != "format" and not key.endswith(".name")}
    plain = good
    for key in values:
        plain = replace(plain, key, odd)
    with pytest.raises(ConfigError) as caught:
        parse(plain)
    said = [line.split("=")[0].split("[")[0].split(":")[0] for line in str(caught.value).split("\n")]
    wrong = set(said) - RULES
    assert len(said) == len(set(said)) > 20
    assert wrong <= set(values)
    for key in wrong:
        plain = replace(plain, key, values[key])
    try:
        parse(plain)
    except ConfigError as error:  # a rule about several keys is looked at once each of them is good
        assert {line.split(":")[0] for line in str(error).split("\n")} <= RULES


def test_random_overrides_are_refused_or_composed() -> None:
    """No text makes Hydra's parser or the merging of values fail otherwise."""
    draw = random.Random(0)
    refusals = 0
    for _ in range(250):
        key = draw.choice(["", "seed", "model", "model.hidden", "+optimizer.lr", "~trainer", "dataset"])
        text = key + "".join(draw.choices("=+~,.:/@[]{}()\"'\\$ ab1\n\x1b\u202e%?*", k=draw.randint(1, 9)))
        try:
            parse(compose(Request((text,))))
        except ConfigError as error:
            refusals += 1
            assert str(error).isprintable() or str(error).count("\n") < 5, text
    assert refusals > 200


# ------------------------------------------------------------------------------------------ device


@pytest.mark.parametrize(
    ("count", "device", "message"),
    [
        (0, "cuda:9", "device=cuda:9: this machine has no CUDA device; set device=cpu or device=auto"),
        (0, "cuda", "device=cuda: this machine has no CUDA device; set device=cpu or device=auto"),
        (1, "cuda:9", "device=cuda:9: this machine has 1 CUDA device(s), cuda:0"),
        (2, "cuda:2", "device=cuda:2: this machine has 2 CUDA device(s), cuda:0 to cuda:1"),
    ],
)
def test_a_device_that_is_not_there(
    count: int, device: str, message: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert refused("train", f"device={device}", code=2) == message


# ------------------------------------------------------------------------------------- config files


@pytest.mark.sampled(12)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file(fault: str, refused: Refused, tmp_path: Path) -> None:
    """As --config, and as the user's own choice of a group."""
    content, message = FAULTS[fault]
    path = tmp_path / "configs" / "model" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    relative = path.relative_to(tmp_path)
    assert refused("train", "--config", str(relative), code=2) == message.format(path=relative)
    assert refused("train", "model=mine", code=2) == message.format(path=path)


MISSING = {
    "dataset": "arrays, breast_cancer, diabetes, digits, fashion_mnist, image_folder, iris, line, mnist, "
    "moons, sum, table, wine",
    "model": "linear, logistic, mlp, tabm",
    "optimizer": "adam, adamw, lbfgs, lion, muon, nadam, rmsprop, sgd",
    "scheduler": "cosine, cosine_restarts, exponential, inverse_sqrt, linear, multistep, none, "
    "onecycle, plateau, step, wsd",
    "init": "constant, default, kaiming_normal, kaiming_uniform, normal, orthogonal, uniform, "
    "xavier_normal, xavier_uniform, zeros",
}
ALL_MISSING = [
    f"{key}: missing; must be a section with a name, one of {names}" for key, names in MISSING.items()
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("seed: 1\n", ALL_MISSING),
        ("sed: 1\n", [*ALL_MISSING, "sed: unknown key; did you mean seed?"]),
        ("a.b: 1\n", [*ALL_MISSING, f"a.b: unknown key; {KEYS}"]),
        ('"a\\nb": 1\n', [*ALL_MISSING, f"'a\\nb': unknown key; {KEYS}"]),
        ('"[red]": 1\n', [*ALL_MISSING, f"[red]: unknown key; {KEYS}"]),
        (
            "model:\n",
            [ALL_MISSING[0], "model=null: must be a section of keys, such as model.name=…", *ALL_MISSING[2:]],
        ),
        ("format: 4\n", ["{path}: format=4: this mlpkit reads up to format 3; upgrade mlpkit"]),
        ("seed: ${seed}\n", ["seed: Recursive interpolation detected; write the value, or ${{other.key}}"]),
        (
            "seed: ${run.x}\nrun:\n  x: ${seed}\n",
            ["seed: Recursive interpolation detected; write the value, or ${{other.key}}"],
        ),
        ("run:\n  root: ${oc.env:HOME}\n", ["run.root='${{oc.env:HOME}}': {fill}"]),
        (
            "defaults:\n  - dataset: ${oc.env:HOME}\n",
            ["{whole}: Error resolving interpolation '${{oc.env:HOME}}'; `mlpkit list` shows what there is"],
        ),
        ("a: oc.env\nrun:\n  root: ${${a}:HOME}\n", ["run.root='${{${{a}}:HOME}}': {fill}"]),
        ("seed: ???\n", ["seed=???: no value; write seed=VALUE"]),
        ("hydra:\n  searchpath: [x]\n", ["{whole}: hydra: mlpkit has no hydra section; remove it"]),
        ("defaults: 5\n", ["{whole}: defaults=5: must be a list, such as [moons]"]),
        ("defaults: [[a]]\n", ['{whole}: defaults: ["a"]: must be a name, or {{group: name}}']),
        (
            "defaults: [mine]\n",
            ["{whole}: defaults lists of its files name each other in a circle; break it"],
        ),
        (
            "defaults:\n  - dataset: nope\n",
            ["{whole}: In 'mine': Could not find 'dataset/nope'; `mlpkit list` shows what there is"],
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_whole_config(text: str, lines: list[str], refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    expected = "\n".join(lines).format(path="mine.yaml", whole=tmp_path / "mine.yaml", fill=FILL)
    assert refused("train", "--config", "mine.yaml", code=2) == expected


def test_a_config_of_another_ending(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("seed: 1\n")
    message = "mine.yml: the name of a config ends in .yaml; rename the file"
    assert refused("train", "--config", "mine.yml", code=2) == message


def test_a_group_cannot_be_chosen_twice(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 1\n")
    assert refused("train", "--config", "mine.yaml", "optimizer=sgd", code=2) == (
        "optimizer=sgd: --config mine.yaml is a whole config, which has chosen every group; "
        "set single keys, such as optimizer.lr=0.01"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "defaults: [nope]\n",
            "In 'dataset/mine': Could not load 'dataset/nope'; `mlpkit list` shows what there is",
        ),
        ("defaults: [mine]\n", "defaults lists of its files name each other in a circle; break it"),
    ],
)  # fmt: skip
def test_defaults_of_ones_own_choice(text: str, message: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "configs/dataset").mkdir(parents=True)
    (tmp_path / "configs/dataset/mine.yaml").write_text(text)
    assert refused("train", "dataset=mine", code=2) == f"configs/train.yaml: {message}"


@pytest.mark.long
def test_a_key_names_the_file_of_ones_own_that_set_it(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "configs/dataset/noisy.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("defaults: [moons]\nnois: 0.35\n")
    line = "dataset.nois: unknown key; did you mean dataset.noise?"
    assert refused("train", "dataset=noisy", code=2) == f"{line} (in {file})"
    assert refused("train", "dataset=noisy", "dataset.nois=1", code=2) == line


def test_a_folder_or_pipe_is_no_choice(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "configs/model/folder.yaml").mkdir(parents=True)
    os.mkfifo(tmp_path / "configs/model/pipe.yaml")
    for name in ("folder", "pipe"):
        message = f"model={name}: no such model; choose one of {CHOICES['model']}{HINT}"
        assert refused("train", f"model={name}", code=2) == message
    assert command(["list", "model"]) == 0


def test_what_list_does_not_know(refused: Refused) -> None:
    groups = ", ".join(sorted([*CHOICES, "activation", "launcher", "logger", "metric"]))
    assert refused("list", "nope", code=2) == f"list nope: no such group; choose one of {groups}"
    assert refused("list", "--config-dir", "none", code=2) == "--config-dir=none: no such folder"


# -------------------------------------------------------------------------------------- run folders


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc", "No such file or directory"),
        ("/dev/null", "Not a directory"),
        ("y" * 300, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written(root: str, reason: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused("train", "trainer.epochs=1", f"run.root={root}", code=74)
    assert said == f"{root}/moons-mlp: cannot make the run folder ({reason}); choose another run.root"


def test_a_run_folder_is_never_used_again(refused: Refused, tmp_path: Path) -> None:
    arguments = ("trainer.epochs=1", "run.plots=false", "run.progress=none", "run.dir=outputs/mine")
    assert command(["train", *arguments]) == 0
    taken = (
        "run.dir=outputs/mine: already holds a run; name a new folder, or go on: mlpkit resume outputs/mine"
    )
    assert refused("train", *arguments, code=2) == taken
    other = "run.dir=outputs: already holds other files; name a new folder"
    assert refused("train", *arguments[:3], "run.dir=outputs", code=2) == other
    assert refused("train", "--config", "outputs/mine/config.yaml", code=2) == taken
    assert command(["train", "--config", "outputs/mine/config.yaml", "run.dir=null"]) == 0
    assert len(list(tmp_path.glob("outputs/moons-mlp/*/summary.json"))) == 1


# ------------------------------------------------------------------------------------ other commands


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["predict"], 2, "predict: give one of --input FILE, --values A,B,…, --split NAME or --out-of-fold"),
        (
            ["predict", "--values", "1,2", "--split", "val"],
            2,
            "predict: give one of --input FILE, --values A,B,…, --split NAME or --out-of-fold",
        ),
        (["predict", "--values", "1,2", "--checkpoint", "foo"], 2, "--checkpoint=foo: must be best or last"),
        (["predict", "--split", "foo"], 2, "--split=foo: this run has train, val, test"),
        (
            ["predict", "--values", "1,2", "--output", "o.txt"],
            2,
            "--output=o.txt: the ending must be one of .csv, .jsonl, .npz, .parquet",
        ),
        (
            ["predict", "--values", "1,2", "--output", "none/o.csv"],
            2,
            "--output=none/o.csv: its folder does not exist; make it first",
        ),
        (
            ["predict", "--values", "1,2", "--output", "/proc"],
            2,
            "--output=/proc: the ending must be one of .csv, .jsonl, .npz, .parquet",
        ),
        (["predict", "--values", "1"], 65, "--values=1: 1 value, the model reads 2: x1, x2"),
        (["evaluate", "--split", "foo"], 2, "--split=foo: this run has train, val, test"),
        (
            ["evaluate", "seed=1"],
            2,
            "seed=1: only the dataset may be overridden here, as in dataset.noise=0.2",
        ),
        (
            ["evaluate", "~dataset.noise"],
            2,
            "~dataset.noise: only the dataset may be overridden here, as in dataset.noise=0.2",
        ),
        (["evaluate", "dataset.nosie=1"], 2, "dataset.nosie: unknown key; did you mean dataset.noise?"),
        (
            ["evaluate", "dataset.noise=0.1,0.2"],
            2,
            f"dataset.noise=0.1,0.2: {SWEEP} (a list is dataset.noise=[…])",
        ),
        (
            ["evaluate", "dataset.noise=${oc.env:NOT_SET}"],
            2,
            f"'dataset.noise=${{oc.env:NOT_SET}}': {NOT_SET}",
        ),
        (
            ["evaluate", "dataset.val_fraction=0", "--split", "val"],
            2,
            "--split=val: this run has train, test",
        ),
        (
            ["evaluate", "dataset=line"],
            65,
            "dataset=line: its task, features, input_shape, targets, classes differ from what {best} was "
            "trained on",
        ),
        (["inspect", "--checkpoint", "x"], 2, "--checkpoint=x: must be best or last"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_commands_on_a_run(
    arguments: list[str], code: int, message: str, refused: Refused, trained: dict[str, Path]
) -> None:
    name, *rest = arguments
    said = refused(name, str(trained["moons"]), *rest, code=code)
    assert said == message.replace("{best}", str(trained["moons"] / "checkpoints" / "best.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "trian: no such command; did you mean train?"),
        (["\x1b[31m"], "\\x1b[31m: no such command; see mlpkit --help"),
        (["train", "--trials", "0"], "--trials=0: must be at least 1"),
        (["train", "--workers=x"], "--workers=x: must be an integer"),
        (["predict", "--pixels=5", "--pixels", "-1"], "--pixels=-1: must be at least 1"),
        (["plot", "--width=1e9"], "--width=1e9: must be at most 60"),
        (["--nope"], f"No such option: --nope; {DASHES}; see mlpkit --help"),
        (["doctor", "x"], "Got unexpected extra argument(s) (x); see mlpkit doctor --help"),
    ],
)
def test_usage(arguments: list[str], message: str, refused: Refused) -> None:
    assert refused(*arguments, code=2) == message


# -------------------------------------------------------------------------------- in its own process


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("optimizer.lr=abc", 2, f"mlpkit: optimizer.lr='abc': {LR}\n"),
        ('run.name="\x1b[31m\udcff"', 2, f"mlpkit: run.name='\\x1b[31m\\udcff': {NAME}\n"),
        ("run.root=file", 74, f"mlpkit: file/line-linear: {NO_FOLDER}\n"),
    ],
    ids=["value", "escape", "write"],
)  # fmt: skip
def test_as_a_user_sees_it(override: str, code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = mlpkit("train", "dataset=line", "model=linear", override, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.long
def test_a_terminal_without_unicode_gets_the_line_too(tmp_path: Path) -> None:
    done = mlpkit("train", 'run.name="ü"', cwd=tmp_path, check=False, PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert done.stderr.startswith("mlpkit: run.name='\\xfc': must be a name of letters")
