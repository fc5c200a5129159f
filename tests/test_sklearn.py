"""mlpkit's scikit-learn estimators: scikit-learn's own checks, and what they promise beyond."""

from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlpkit.sklearn import LinearRegression, LogisticRegression, MLPClassifier, MLPRegressor

ESTIMATORS = [MLPClassifier(), MLPRegressor(), LogisticRegression(), LinearRegression()]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
