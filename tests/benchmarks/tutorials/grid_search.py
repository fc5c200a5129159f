"""Moons, 2-4-1, 4 learning rates × 16 seeds, 1000 full-batch epochs each, by scikit-learn's grid search."""

import warnings

import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier

TRAIN, VAL = 300, 100  # rows, as mlpkit deals them

warnings.filterwarnings("ignore", category=ConvergenceWarning)
inputs, targets = make_moons(n_samples=TRAIN + VAL, noise=0.1, random_state=0)
model = MLPClassifier(
    hidden_layer_sizes=(4,), batch_size=TRAIN, max_iter=1000, n_iter_no_change=1001, tol=0.0
)
search = GridSearchCV(
    model,
    {"learning_rate_init": [0.003, 0.01, 0.03, 0.1], "random_state": list(range(16))},
    cv=PredefinedSplit(np.repeat([-1, 0], [TRAIN, VAL])),
    n_jobs=2,
    refit=False,
)
search.fit(inputs, targets)
print(search.best_params_, search.best_score_)
