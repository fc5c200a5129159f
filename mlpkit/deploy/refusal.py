"""Requests that are refused."""


class Refusal(Exception):  # noqa: N818 (it is an answer)
    """An answer other than a prediction.

    Attributes:
        status: of HTTP.
        line: what is wrong, the rule, and the way out.
    """

    def __init__(self, status: int, line: str) -> None:
        """Keep both."""
        super().__init__(line)
        self.status, self.line = status, line
