"""What keeps the house one to live in: how long its files are, and what a newcomer must read."""

import ast
from pathlib import Path

from tests.conftest import ROOT

SOURCE = ROOT / "src" / "camixersr"


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_papers_path_is_read_in_an_hour() -> None:
    """Everything in `nn/`, and the network: the paper's section 3."""
    path = [*(SOURCE / "nn").glob("*.py"), SOURCE / "models" / "camixersr.py"]
    assert sum(map(lines, path)) <= 900
    assert lines(SOURCE / "nn" / "routing.py") <= 350


def test_only_the_command_line_prints() -> None:
    """A library logs: who uses it decides what is shown."""
    printing = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] != "cli" and path.name != "__main__.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def test_no_file_is_longer_than_a_reader_holds() -> None:
    assert not [path for path in SOURCE.rglob("*.py") if lines(path) > 450]
