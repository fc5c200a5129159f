"""Loads a trained model from a run, a sweep or a checkpoint."""

from pathlib import Path

from mlpkit.analysis.named_run import open_members
from mlpkit.analysis.novelty import stored_novelty
from mlpkit.analysis.predict import make_predictor, one_of
from mlpkit.data.raw_inputs import missing_texts
from mlpkit.deploy.model import Model
from mlpkit.folders.trust import Trust
from mlpkit.system.console import notes_collected
from mlpkit.system.device import choose_device
from mlpkit.system.torch_settings import torch_settings_kept


def load(
    path: str | Path,
    checkpoint: str = "best",
    ensemble: bool = False,
    device: str = "cpu",
    allow_large: bool = False,
) -> Model:
    """Return a trained model.

    Args:
        path: a run folder, a checkpoint file, a sweep (its best run), a folder of runs (the newest), or what
            an estimator of mlpkit.sklearn has saved.
        checkpoint: best or last, for a folder.
        ensemble: of a sweep: the mean of all runs of its best setting, such as those of several seeds.
        device: auto, cpu, cuda or cuda:N.
        allow_large: open a model of any size; a found file may ask for much memory.

    Raises:
        ConfigError: an argument is wrong.
        DataError: there is no run, or its checkpoint is damaged.
    """
    trust = Trust.foreign(allow_large)
    with notes_collected() as notes, torch_settings_kept():
        found = open_members(str(path), checkpoint, trust, ensemble)
        source = str(path if len(found) > 1 else found[0][0])
        predictors = [make_predictor(stored, choose_device(device)) for _, stored in found]
        predictor, missing = one_of(predictors), missing_texts(found[0][1].config.dataset)
        model = Model(predictor, source, missing, stored_novelty(found, predictor))
        model.messages = tuple(notes)
        return model
