"""Turns typer's errors about a command line into mlpkit's messages."""

import re
from collections.abc import Sequence
from typing import Any

_RULES = {
    r"Input should be greater than or equal to (\S+)": r"must be at least \1",
    r"Input should be less than or equal to (\S+)": r"must be at most \1",
    r"Input should be a valid integer.*": "must be an integer",
}


def describe_usage(error: Any, arguments: Sequence[str], is_command: bool) -> str:
    """Return the line of a usage error.

    Args:
        error: typer's error.
        arguments: the command line.
        is_command: whether the first argument is a command of mlpkit.
    """
    message = " ".join(error.format_message().split()).rstrip(".")
    see = f"see mlpkit {arguments[0]} --help" if is_command else "see mlpkit --help"
    if match := re.fullmatch(r"No such command '(.*?)'(?:\. Did you mean '(.*)'\?)?", message):
        return f"{match[1]}: no such command; {f'did you mean {match[2]}?' if match[2] else see}"
    options = getattr(getattr(error, "param", None), "opts", ())
    for pattern, rule in _RULES.items():
        if options and re.fullmatch(pattern, error.message):
            return f"{options[0]}={_value(options, arguments)}: {re.sub(pattern, rule, error.message)}"
    message = re.sub(r" \(Possible options: [^)]*\)", "", message)  # unrelated for a setting with dashes
    settings = "settings have no dashes, as in optimizer.lr=0.01; " if "No such option" in message else ""
    return f"{message}; {settings}{see}"


def _value(options: Sequence[str], arguments: Sequence[str]) -> str:
    """Return the value of an option as it was typed: the last one counts."""
    value = ""
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, given = word.partition("=")
        if name in options:
            value = given if equals else after
    return value
