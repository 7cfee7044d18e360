"""Take the picture of the page that the README shows: docs/images/page.jpg.

Starts a service on an empty folder, sends the sample photo twice, and drives Debian's headless Chromium
(`apt-get install chromium-headless-shell`).
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "page.jpg"
BROWSER = "/usr/bin/chromium-headless-shell"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def take(address: str) -> None:
    """Enlarge the sample at two ratios, and show the first result before and after, with its route map."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        page.goto(address)
        page.wait_for_selector(".line.up")
        for count, ratio in enumerate(("0.25", "0.5"), 1):
            page.locator("input[name=attention_ratio]").fill(ratio)
            page.set_input_files("#files", str(ROOT / "samples" / "summer-palace.jpg"))
            page.wait_for_function("n => document.querySelectorAll('.item.done').length === n", arg=count)
        page.locator(".item .show").first.click()
        page.wait_for_selector("#pane-one canvas")
        page.locator("#map").click()
        page.locator("#strength").fill("0.4")
        page.locator("#in").click()
        page.wait_for_timeout(3000)
        page.locator("body").click(position={"x": 640, "y": 20})
        page.screenshot(path=str(PICTURE), type="jpeg", quality=85)
        browser.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "camixersr", "serve", "--port", "0", "--data", data]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            found = re.search(r"open (\S+)", server.stderr.readline())
            assert found
            try:
                take(found[1])
            finally:
                server.terminate()
    print(json.dumps({"picture": str(PICTURE.relative_to(ROOT)), "bytes": PICTURE.stat().st_size}))


if __name__ == "__main__":
    main()
