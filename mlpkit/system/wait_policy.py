"""How long threads of OpenMP stay awake while they wait for each other.

A thread that waits spins: it asks again and again, so that it goes on at once. OpenMP's default is to
spin for milliseconds, which is good while every thread has a core. Where another program has taken one,
the waiting thread burns the time that the late one needs, and training becomes up to 100 times slower.
A short spin outlasts the pauses inside a step, and no more: on a quiet machine it costs nothing.
"""

import os
from collections.abc import MutableMapping

# By the library that torch was built with. GNU's counts rounds (10000 are about 0.25 ms), LLVM's and Intel's
# counts milliseconds, of which 1 is the least that is not "at once".
SHORT_SPIN = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
USERS = ("OMP_WAIT_POLICY", *SHORT_SPIN)  # where one of them is set, the user has decided


def bound_spin(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads spin for a short time, unless the user has said how they are to wait.

    OpenMP reads the variables once, when torch is loaded: call this before. Processes inherit them.
    """
    if not any(name in environment for name in USERS):
        environment.update(SHORT_SPIN)
