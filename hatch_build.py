"""Compile the native core while the package is built or installed; without a compiler do without it."""

import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/camixersr/native")


class CustomBuildHook(BuildHookInterface):
    """What hatchling calls; `camixersr.native.build` does the work."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library beside its sources; a wheel that carries it is for this platform alone."""
        if self.target_name != "wheel":
            return
        core = runpy.run_path(str(Path(self.root) / FOLDER / "build.py"))
        why_not = core["why_not"]()
        if not why_not:
            try:
                core["build"]()
            except (OSError, subprocess.CalledProcessError) as error:
                why_not = f"the compiler failed: {getattr(error, 'stderr', None) or error}"
        if why_not:
            self.app.display_warning(f"no native core: {why_not}; torch computes instead")
        elif version != "editable":
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform}"
            build_data["artifacts"].append(str(FOLDER / core["LIBRARY"]))
