"""Private random generators: every draw is a function of (seed, purpose, epoch, step).

Nothing here touches torch's global generator, so a draw never depends on earlier draws. A run
gives the same numbers when it is resumed, or trained together with other runs.
"""

import hashlib

import torch


def derived_seed(seed: int, purpose: str, epoch: int = 0, step: int = 0) -> int:
    """Return the 63-bit seed of one purpose at one epoch and step."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(
    seed: int, purpose: str, epoch: int = 0, step: int = 0, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return the generator of one purpose at one epoch and step."""
    return torch.Generator(device).manual_seed(derived_seed(seed, purpose, epoch, step))
