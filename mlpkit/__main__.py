"""`python -m mlpkit` is `mlpkit`."""

from mlpkit.cli.main import main

main()
