"""A progress bar that Ctrl-C does not break."""

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import Progress

ROOM = 4  # columns at the end of the line for two ^C


class ProgressBar(Progress):
    """A bar that leaves some columns free at the end of its line.

    A terminal writes ^C where the cursor is. Behind a bar as wide as the terminal, that would be on the next
    line, and the bar would be drawn again there.
    """

    def get_renderable(self) -> RenderableType:
        """Return the bar, narrower than the terminal."""
        return _Narrower(super().get_renderable())


class _Narrower:
    def __init__(self, bar: RenderableType) -> None:
        self.bar = bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.bar, options.update_width(max(1, options.max_width - ROOM)))
