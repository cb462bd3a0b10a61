"""``python -m calbench``: the command line."""

from calbench.cli import main

main()
