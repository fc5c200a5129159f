"""Formulas that are plain text, such as δ₁ = (W₂ᵀ δ₂) ⊙ relu′(z₁), as MathML and as LaTeX."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"∂(?P<above>[^\W\d_₀-₉]*)/∂(?P<below>[^\W\d_₀-₉]+)(?P<index>[₀-₉]*)"
    r"|(?P<letter>[^\W\d_])_(?P<low>\w)(?!\w)"
    r"|(?P<base>\d+(?:\.\d+)?(?:e[-+]?\d+)?|[^\W\d₀-₉ᵀᵗ][\w-]*?(?=[₀-₉ᵀ²ᵗ′]|[^\w-]|$)"
    r")(?P<prime>′?)(?P<sub>[₀-₉]*)(?P<sup>[ᵀ²ᵗ]?)"
    r"|(?P<root>√\()|(?P<close>\))(?P<power>[²ᵗ]?)(?:_(?P<under>\w))?|(?P<other>\S)"
)
_NAMES = ("lr", "loss", "log", "exp", "softmax", "sign", "gamma", "delta")  # of more than one letter
_DIGITS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED = {"ᵀ": "T", "²": "2", "ᵗ": "t", "": ""}
_LATEX = {
    **{"δ": r"\delta", "θ": r"\theta", "σ": r"\sigma", "Φ": r"\Phi", "ℓ": r"\ell", "ŷ": r"\hat{y}"},
    **{"⊙": r"\odot", "←": r"\leftarrow", "Σ": r"\sum", "≥": r"\ge", "≤": r"\le", "±": r"\pm", "∓": r"\mp"},
    **{"ε": r"\varepsilon", "∂": r"\partial", "·": r"\cdot", "%": r"\%"},
}


@dataclass(frozen=True)
class Sign:
    """One sign of a formula.

    Attributes:
        kind: word, name, number, operator, fraction, open, root or close.
        text: what it is; of a fraction, what is below.
        sub: its index.
        sup: its power.
        above: of a fraction, what is above.
    """

    kind: str
    text: str
    sub: str = ""
    sup: str = ""
    above: str = ""


def mathml(formula: str) -> str:
    """Return a formula as a MathML element."""
    signs = "".join(map(_mathml_of, _signs(formula)))
    return f'<math displaystyle="true">{signs}</math>'


def latex(formula: str) -> str:
    """Return a formula as LaTeX, without the dollar signs."""
    return " ".join(map(_latex_of, _signs(formula)))


def _signs(formula: str) -> Iterator[Sign]:
    """Yield the signs of a formula; each bracket of a root is closed by `close` with the text `}`."""
    open_brackets: list[str] = []
    for match in _TOKEN.finditer(formula):
        part = match.groupdict()
        if part["below"]:
            index = part["index"].translate(_DIGITS)
            yield Sign("fraction", part["below"], index, above=part["above"])
        elif part["letter"]:
            yield Sign("name", part["letter"], part["low"])
        elif base := part["base"]:
            follows = formula[match.end() : match.end() + 1]
            kind = "number" if base[0].isdigit() else "name"
            is_text = len(base) > 1 and kind == "name" and base not in _NAMES
            if is_text and follows != "(" and not part["sub"] and not part["prime"]:
                kind = "word"
            sub, sup = part["sub"].translate(_DIGITS), _RAISED[part["sup"]]
            yield Sign(kind, base + part["prime"], sub, sup)
        elif part["root"]:
            open_brackets.append("}")
            yield Sign("root", "√")
        elif part["close"]:
            bracket = open_brackets.pop() if open_brackets else ")"
            yield Sign("close", bracket, part["under"] or "", _RAISED[part["power"] or ""])
        else:
            if part["other"] in "([":
                open_brackets.append(")")
            yield Sign("operator", part["other"])


def _mathml_of(sign: Sign) -> str:
    text = html.escape(sign.text) if sign.text != "-" else "−"
    if sign.kind == "fraction":
        below = f"<mi>{text}</mi>"
        if sign.sub:
            below = f"<msub>{below}<mn>{sign.sub}</mn></msub>"
        above = f"<mo>∂</mo><mi>{html.escape(sign.above)}</mi>"
        return f"<mfrac><mrow>{above}</mrow><mrow><mo>∂</mo>{below}</mrow></mfrac>"
    if sign.kind == "root":
        return "<msqrt><mrow>"
    if sign.kind == "close" and sign.text == "}":
        return "</mrow></msqrt>"
    if sign.kind == "word":
        return f"<mtext>\u00a0{text}\u00a0</mtext>"
    tag = {"name": "mi", "number": "mn"}.get(sign.kind, "mo")
    base = f"<{tag}>{text}</{tag}>"
    if sign.text in _NAMES:
        return f'{base}<mspace width="0.2em"/>'
    if sign.sub and sign.sup:
        return f"<msubsup>{base}<mn>{sign.sub}</mn><mi>{sign.sup}</mi></msubsup>"
    if sign.sub:
        return f"<msub>{base}<mn>{sign.sub}</mn></msub>"
    return f"<msup>{base}<mi>{sign.sup}</mi></msup>" if sign.sup else base


def _latex_of(sign: Sign) -> str:
    escaped = sign.text.replace("_", r"\_").replace("′", "'")
    if sign.kind == "fraction":
        below = _LATEX.get(sign.text, escaped) + (f"_{{{sign.sub}}}" if sign.sub else "")
        above = _LATEX.get(sign.above, rf"\mathrm{{{sign.above}}}")
        return rf"\frac{{\partial {above}}}{{\partial {below}}}"
    if sign.kind == "root":
        return r"\sqrt{"
    if sign.kind == "close" and sign.text == "}":
        return "}"
    if sign.kind == "word":
        return rf"\text{{ {escaped} }}"
    base = _LATEX.get(sign.text, escaped)
    if sign.kind == "name" and len(sign.text.rstrip("′")) > 1:
        base = rf"\mathrm{{{escaped}}}"
    sub = f"_{{{sign.sub}}}" if sign.sub else ""
    sup = r"^{\top}" if sign.sup == "T" else f"^{{{sign.sup}}}" if sign.sup else ""
    return f"{base}{sub}{sup}"
