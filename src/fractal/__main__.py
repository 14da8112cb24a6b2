"""`python -m fractal` is the command `fractal`."""

from fractal.cli import main

main()
