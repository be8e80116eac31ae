"""`gilder run`: settings, logs, and then the operator until it is told to stop."""

import sys
from typing import Any

from pydantic import ValidationError

from gilder.config import Settings


def run_operator(given: dict[str, Any]) -> int:
    try:
        settings = Settings(**given)
    except ValidationError as error:
        for e in error.errors():
            name = "GILDER_" + "_".join(str(p) for p in e["loc"]).upper()
            message = e["msg"].removeprefix("Value error, ")
            for line in message.splitlines():
                print(f"gilder: {name}: {line} (got {e.get('input')!r})", file=sys.stderr)
        return 1
    from gilder.handlers import logs, operator

    logs.configure(settings.log_format, settings.log_level)
    return operator.run(settings)
