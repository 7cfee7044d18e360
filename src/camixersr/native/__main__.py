"""`python -m camixersr.native`: compile the core in a checkout, where it changed or was not built.

With `--check` nothing is compiled: it says, in a line and by its exit code, whether the core computes here.
"""

import subprocess
import sys

from camixersr.native import core
from camixersr.native.build import HERE, LIBRARY, build, why_not

if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        missing = core.why_not()
        sys.exit(f"{missing}; torch computes instead" if missing else 0)
    if reason := why_not():
        sys.exit(f"the native core cannot be built: {reason}; torch computes instead")
    try:
        build()
    except subprocess.CalledProcessError as error:
        sys.exit(f"the native core cannot be built: {error.stderr.strip()}")
    print(f"built {HERE / LIBRARY}")
