"""`python -m camixersr.native`: compile the core in a checkout, where it changed or was not built."""

import subprocess
import sys

from camixersr.native.build import HERE, LIBRARY, build, why_not

if __name__ == "__main__":
    if reason := why_not():
        sys.exit(f"the native core cannot be built: {reason}; torch computes instead")
    try:
        build()
    except subprocess.CalledProcessError as error:
        sys.exit(f"the native core cannot be built: {error.stderr.strip()}")
    print(f"built {HERE / LIBRARY}")
