"""Tests of the application for real boards; those that need a C compiler or dtc are in files named check_*.py."""

import sys
from pathlib import Path

# Helpers beside the tests are importable.
sys.path.insert(0, str(Path(__file__).parent))
