"""Any bytes given as a picture are read as pixels, or refused in a line."""

import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fuzz.damage import damaged
from fuzz.inputs import SIGNATURES, check


def picture(kind: str, mode: str) -> bytes:
    """Return the file of a picture that the last of the models reads, or of another mode."""
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((3, 2)).convert(mode).save(stream, kind)
    return stream.getvalue()


PICTURES = [picture(kind, mode) for kind, mode in (("PNG", "L"), ("PNG", "1"), ("PNG", "P"), ("JPEG", "L"))]


@given(content=st.sampled_from(PICTURES).flatmap(damaged) | st.binary())
def test_a_picture(content: bytes, tmp_path: Path) -> None:
    check(tmp_path / "in.png", content, SIGNATURES[-1])
