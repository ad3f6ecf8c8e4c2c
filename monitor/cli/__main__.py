"""`python -m monitor.cli` is `driftline`."""

from monitor.cli import main

main(prog_name="driftline")
