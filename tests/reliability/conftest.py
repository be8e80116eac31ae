"""A slice of what the scripts of reliability/ do in full."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "reliability"))
