"""Videos as people have them: see videos.py beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # so that the tests of the demo share videos.py
