"""Limits how long OpenMP threads spin while they wait for each other.

A spinning thread checks in a loop whether it can continue, so it reacts at once. OpenMP spins for
milliseconds by default, which is good if every thread has a core. If another program uses one of the cores,
the spinning threads take the processor time that the late thread needs, and training becomes up to 100 times
slower. The short spin set here covers the pauses within a step; on an idle machine it costs nothing.
"""

import os
from collections.abc import MutableMapping

# One variable for each OpenMP library that torch may be built with. GNU's counts iterations (10000 take about
# 0.25 ms); LLVM's and Intel's counts milliseconds, and 0 would turn spinning off.
SHORT_SPIN = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
USERS = ("OMP_WAIT_POLICY", *SHORT_SPIN)  # if one of these is set, the user has decided


def bound_spin(environment: MutableMapping[str, str] = os.environ) -> None:
    """Make waiting threads spin only briefly, unless the user has set one of the variables.

    Call this before torch is imported: OpenMP reads the variables once. Child processes inherit them.
    """
    if not any(name in environment for name in USERS):
        environment.update(SHORT_SPIN)
