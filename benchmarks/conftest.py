"""What the benchmark tests need before they are collected."""

import sys
from pathlib import Path

# The scripts of this folder find each other by plain names; under pytest so do the tests.
sys.path.insert(0, str(Path(__file__).parent))
