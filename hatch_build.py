"""What hatchling calls while the package is built: its page on an index, and the native core."""

import os
import re
import runpy
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

FOLDER = Path("src/camixersr/native")
ADDRESS, REF = "CAMIXERSR_ADDRESS", "CAMIXERSR_REF"
"""Environment variables: the address of the published repository, and the tag or branch of this version."""

LINK = re.compile(r"(!?)\[([^\[\]]*)\]\((?!https?://|#|mailto:)([^)\s]+)\)")


def page(text: str, address: str, ref: str) -> str:
    """The README as an index shows it: links and pictures have whole addresses there.

    Args:
        text: the README, whose links are relative.
        address: of the repository, without a slash at the end. Without one, links become plain words, and
            pictures go: neither would work.
        ref: a tag or a branch.
    """

    def whole(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if not address:
            return "" if picture else words
        kind = "raw" if picture else "blob"
        return f"{picture}[{words}]({address}/{kind}/{ref}/{target})"

    return LINK.sub(whole, text)


class CustomMetadataHook(MetadataHookInterface):
    """Addresses belong to who publishes, so they come from the environment; a fork has its own."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the page and the addresses. An sdist keeps those that it was built with."""
        address = os.environ.get(ADDRESS, "").rstrip("/")
        if address and not address.startswith("https://"):
            raise ValueError(f"{ADDRESS}: expected https://HOST/OWNER/NAME, got {address!r}")
        ref = os.environ.get(REF, "") or "main"
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": page(text, address, ref)}
        pages = {"Repository": "", "Documentation": f"/tree/{ref}/docs", "Issues": "/issues"}
        pages |= {"Changelog": f"/blob/{ref}/CHANGELOG.md"}
        metadata["urls"] = {name: address + path for name, path in pages.items()} if address else {}


class CustomBuildHook(BuildHookInterface):
    """Compile the native core; without a compiler do without it. `camixersr.native.build` does the work."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the library beside its sources; a wheel that carries it is for this platform alone."""
        if self.target_name != "wheel":
            return
        core = runpy.run_path(str(Path(self.root) / FOLDER / "build.py"))
        if os.environ.get("CAMIXERSR_NATIVE") == "off":
            why_not = "CAMIXERSR_NATIVE is off"
        elif not (why_not := core["why_not"]()):
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
