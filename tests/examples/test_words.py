"""Plain English: sentences of pages and of `--help` are short, and the README's commands are run."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import App

from camixersr.cli import app, main
from tests.conftest import ROOT
from tests.examples.test_documents import workplace  # noqa: F401 - a fixture

MOST = 24
"""Words of a sentence."""

PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "adapters",
            "configuration",
            "data",
            "decisions/0007-batches-and-devices",
            "fleet",
            "glossary",
            "how-to",
            "method",
            "panoramas",
            "reference",
            "restoration",
            "runtimes",
            "service",
            "start",
            "training",
            "tutorial",
            "video",
        )
    ),
)
"""What people read who have a task; research logs have their own length."""
README = (ROOT / "README.md").read_text(encoding="utf-8")


def sentences(text: str) -> list[str]:
    """Of a page in Markdown, without its code; cells of tables, items and paragraphs end one."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^(#+ .*|\|[-| :]+\|)$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^(- |\d+\. |> )", "\n\n", text, flags=re.MULTILINE)
    text = text.replace("|", "\n\n").replace("*", "")
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        found += re.split(r"(?<=[.!?:;])\s+", " ".join(paragraph.split()))
    return [each for each in found if each]


@pytest.mark.parametrize("page", PAGES)
def test_sentences_are_short(page: str) -> None:
    found = sentences((ROOT / page).read_text(encoding="utf-8"))
    assert len(found) > 10
    assert [each for each in found if len(each.split()) > MOST] == []


def helps(about: App) -> list[str]:
    """What `--help` says of a command and of those below it: what each does, and each of its options."""
    found = [about.help]
    if about.default_command is not None:
        found += [each.parameter.help or "" for each in about.assemble_argument_collection()]
    for each in about:
        if not each.startswith("-"):
            found += helps(about[each])
    return found


def test_help_is_in_short_sentences() -> None:
    found = [sentence for text in helps(app) for sentence in sentences(text)]
    assert len(found) > 200
    assert [each for each in found if len(each.split()) > MOST] == []


def test_the_readme_comes_in_its_order() -> None:
    first = README.split("\n\n")
    assert len(sentences(first[1])) == 1, "one sentence"
    assert first[2].startswith("!["), "one picture"
    assert len(re.findall(r"^\$ ", README.split("## ")[1], re.MULTILINE)) == 2, "two commands"
    heads = re.findall(r"^##+ (.*)$", README, re.MULTILINE)
    assert heads[1] == "What it does for you"
    assert [head.startswith("You ") for head in heads[2:6]] == [True] * 4
    assert heads[6:] == ["Numbers", "Limits", "Questions", "More"]
    for part in README.split("\n### ")[1:]:
        assert part.split("\n## ")[0].count("```") == 2, "one example each"
    assert len(re.findall(r"^\|---", README, re.MULTILINE)) == 1, "one table"


COMMANDS = re.findall(r"^\$ camixersr (.*)$", README, re.MULTILINE) + re.findall(
    r"`camixersr (info .*?)`", README
)


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_run(command: str, workplace: Path) -> None:  # noqa: F811
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command))
    assert ended.value.code == 0


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https://)([^)\s#]+)", README):
        assert (ROOT / target).exists(), target
