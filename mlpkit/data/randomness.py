"""Private random generators: every draw is a function of (seed, purpose, epoch, step).

Nothing here touches torch's global generator, so a draw never depends on what was drawn before it,
and a run can be continued, reordered or batched with others without changing its numbers.
"""

import hashlib

import torch


def derived_seed(seed: int, purpose: str, epoch: int = 0, step: int = 0) -> int:
    """Return a 63-bit seed for one purpose at one time."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(
    seed: int, purpose: str, epoch: int = 0, step: int = 0, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return a generator for one purpose at one time."""
    return torch.Generator(device).manual_seed(derived_seed(seed, purpose, epoch, step))
