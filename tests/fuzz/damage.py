"""Ways in which the bytes of a file are damaged."""

from hypothesis import strategies as st


@st.composite
def damaged(draw: st.DrawFn, content: bytes, least: int = 0) -> bytes:
    """Draw the content with some bytes changed, put in, left out or repeated, and maybe the end cut off."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(least, 4))):
        start = draw(st.integers(0, len(changed)))
        end = min(start + draw(st.integers(0, 8)), len(changed))
        way = draw(st.sampled_from(("change", "insert", "remove", "repeat", "flip", "cut")))
        if way == "change":
            changed[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
        elif way == "insert":
            changed[start:start] = draw(st.binary(max_size=8))
        elif way == "remove":
            del changed[start:end]
        elif way == "repeat":
            changed[start:start] = changed[start:end] * draw(st.integers(1, 3))
        elif way == "flip" and start < len(changed):
            changed[start] ^= 1 << draw(st.integers(0, 7))
        elif way == "cut":
            del changed[start:]
    return bytes(changed)
