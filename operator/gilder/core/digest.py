"""Short stable digests for names, tokens and fingerprints."""

import hashlib
import json
from typing import Any


def digest(*parts: Any, length: int = 16) -> str:
    """Hex SHA-256 prefix of the JSON of `parts`; equal input, equal output, in every process."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
