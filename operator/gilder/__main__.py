"""`python -m gilder` is the `gilder` command."""

from gilder.cli import app

app()
