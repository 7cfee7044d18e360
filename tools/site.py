"""What mkdocs asks while it builds the documents as a site (`make docs`).

The README, the changelog and the guide for contributors are pages of the site, too. Model cards and
decisions get into the navigation by themselves. Links to files that are no pages lead into the
repository, if CAMIXERSR_ADDRESS names it, and are plain words otherwise.
"""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages of the site that are files outside of `docs/`."""

LINK = re.compile(r"(!?)\[([^\[\]]*)\]\((?!https?://|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")


def rewritten(text: str, page: str) -> str:
    """A page's links, as they are on the site.

    Args:
        text: in Markdown.
        page: its place in the repository, such as docs/method.md.
    """
    address = os.environ.get("CAMIXERSR_ADDRESS", "").rstrip("/")
    ref = os.environ.get("CAMIXERSR_REF", "main")
    own = {there: name for name, there in PAGES.items()}
    here = next((name for name, there in PAGES.items() if there == page), page.removeprefix("docs/"))

    def moved(found: re.Match[str]) -> str:
        picture, words, target, anchor = found.groups()
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
        inside = own.get(place) or (place.removeprefix("docs/") if place.startswith("docs/") else "")
        if place == "docs/decisions":
            inside = "decisions/0001-channels-last.md"
        if inside:
            near = posixpath.relpath(inside, posixpath.dirname(here) or ".")
            return f"{picture}[{words}]({near}{anchor or ''})"
        if not address:
            return words
        return f"{picture}[{words}]({address}/{'raw' if picture else 'blob'}/{ref}/{place})"

    return LINK.sub(moved, text)


def on_config(config: Any) -> Any:
    """Fill the navigation."""
    sections = {name: pages for section in config.nav for name, pages in section.items()}
    docs = ROOT / "docs"
    cards = [f"models/{each.name}" for each in sorted((docs / "models").glob("*.md"))]
    sections["Log"].append({"Models": cards})
    decisions = [f"decisions/{each.name}" for each in sorted((docs / "decisions").glob("*.md"))]
    sections["Log"].append({"Decisions": decisions})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside."""
    for name, there in PAGES.items():
        text = (ROOT / there).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links."""
    name = page.file.src_uri
    return rewritten(markdown, PAGES.get(name, f"docs/{name}"))
