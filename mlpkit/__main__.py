"""The way in: `mlpkit`, and `python -m mlpkit`."""

from mlpkit.interrupts import leave_at_once


def main() -> None:
    """Run the command line; a signal is heard before anything heavy loads."""
    leave_at_once()
    from mlpkit.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
