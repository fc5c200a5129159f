"""Writes pictures of equal size as a GIF, with Pillow, or as an MP4, with ffmpeg."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mlpkit.errors import ConfigError, WriteError

Pictures = Sequence[NDArray[Any]]  # (height, width, 3) uint8

LAST_MS = 1500  # how long the last picture of a GIF stays


def check_ffmpeg() -> str:
    """Return the path of ffmpeg.

    Raises:
        ConfigError: it is not installed.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise ConfigError(
            "--output: a .mp4 needs ffmpeg, which is not installed (apt install ffmpeg, brew install ffmpeg, "
            "winget install ffmpeg); a .gif and a .html need nothing"
        )
    return found


def as_gif(pictures: Pictures, milliseconds: int) -> bytes:
    """Return an endless GIF; each picture stays for some milliseconds."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    # One palette for all, from the first, the middle and the last picture: else colours would flicker.
    height = images[0].height
    sample = Image.new("RGB", (images[0].width, 3 * height))
    for place, index in enumerate((0, len(images) // 2, -1)):
        sample.paste(images[index], (0, place * height))
    palette = sample.quantize(256, dither=Image.Dither.NONE)
    drawn = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    content = BytesIO()
    durations = [milliseconds] * (len(drawn) - 1) + [LAST_MS]
    drawn[0].save(
        content, "GIF", save_all=True, append_images=drawn[1:], duration=durations, loop=0, optimize=False
    )
    return content.getvalue()


def as_mp4(pictures: Pictures, milliseconds: int) -> bytes:
    """Return an MP4 (H.264) that shows each picture for some milliseconds.

    Raises:
        ConfigError: ffmpeg is not installed.
        WriteError: ffmpeg failed.
    """
    program = check_ffmpeg()
    height, width = (size - size % 2 for size in pictures[0].shape[:2])  # the format needs even sizes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film.mp4")
        how = (
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            f"{1000 / milliseconds:.3f}",
        )
        end = ("-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path))
        raw = b"".join(picture[:height, :width].tobytes() for picture in pictures)
        command = [program, "-loglevel", "error", "-y", *how, "-i", "-", *end]
        done = subprocess.run(command, input=raw, capture_output=True)
        if done.returncode or not path.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
            raise WriteError(f"--output: ffmpeg failed ({said[0][:200]}); a .gif needs no ffmpeg")
        return path.read_bytes()
