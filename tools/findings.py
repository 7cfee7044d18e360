"""Put what a comparison found into its page.

    python tools/findings.py docs/ablation.md runs/ablation

replaces what lies between `<!-- findings: ablation -->` and `<!-- end -->` by the tables in
`runs/ablation/findings.md`, and copies the plot beside the other pictures.
"""

import argparse
import re
import shutil
from pathlib import Path

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description="Put what a comparison found into its page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path, help="of the comparison; its name is that of the place")
    options = parser.parse_args()
    name = options.folder.name
    table = (options.folder / "findings.md").read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- findings: {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    image = f"![Differences, seed by seed, and PSNR against multiply-adds](images/{name}.png)"
    text, count = place.subn(
        lambda found: f"{found[1]}\n{table}\n{image}\n{found[2]}", options.page.read_text(encoding="utf-8")
    )
    if count != 1:
        parser.exit(1, f"{options.page}: expected one place for findings of {name}, found {count}\n")
    options.page.write_text(text, encoding="utf-8")
    shutil.copyfile(options.folder / "findings.png", IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
