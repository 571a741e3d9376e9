"""Launcher: in a checkout, `python cli.py ...` is what `bnn ...` is once installed."""

import sys

from bnnlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
