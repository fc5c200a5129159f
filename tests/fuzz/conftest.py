"""How many cases a fuzz test tries: $MLPKIT_FUZZ, drawn anew each time; else 50, always the same."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "mlpkit",
    max_examples=int(os.environ.get("MLPKIT_FUZZ", "50")),
    derandomize="MLPKIT_FUZZ" not in os.environ,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,  # each case writes its file over the last
    ],
)
settings.load_profile("mlpkit")
