"""The page in a browser: Debian's headless Chromium, driven by playwright."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web.conftest import Server, png

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra dev)")

BROWSERS = [Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium")]
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
    'GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="256" '
    'GPano:FullPanoHeightPixels="128" GPano:CroppedAreaImageWidthPixels="64" '
    'GPano:CroppedAreaImageHeightPixels="40" GPano:CroppedAreaLeftPixels="96" '
    'GPano:CroppedAreaTopPixels="32"/></rdf:RDF></x:xmpmeta>'
)
"""A quarter of the way around, five sixteenths of that from pole to pole."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next((path for path in BROWSERS if path.exists()), None)
    if found is None:
        pytest.skip("needs Debian's chromium-headless-shell, which is not there")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=str(found), args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def enter(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a service's page; at the end nothing may have gone wrong in it."""
    pages, wrong = [], []

    def opened(server: Server, path: str = "/", *, ready: bool = True, **context: Any) -> Any:
        page = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, **context}).new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(server.address + path)
        if ready:
            page.wait_for_selector(".line.up")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert [line for line in wrong if "responded with a status of 4" not in line] == []


@pytest.fixture(autouse=True)
def _empty(server: Server) -> Iterator[None]:
    """No test leaves jobs for the next."""
    yield
    for _ in range(2):  # cancelled first, then removed
        for job in server.client.get("/api/v1/jobs").json()["jobs"]:
            server.client.delete(f"/api/v1/jobs/{job['id']}")
            if job["state"] in ("running", "queued"):
                server.over(job)


def files(*named: tuple[str, bytes]) -> list[dict]:
    return [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in named]


def shot(page: Any, selector: str = "#frame") -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("RGB")).astype(
        int
    )


def is_done(page: Any, count: int) -> None:
    page.wait_for_function("n => document.querySelectorAll('.item.done').length === n", arg=count)


def test_pictures_go_in_survive_a_reload_and_come_out_as_a_zip(
    serve: Callable[..., Server], enter: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve().ready()  # one that knows of no other pictures
    page = enter(server)
    sent = {f"picture {number}.png": png(seed=number) for number in range(3)}
    page.locator("input[name=scale]").fill("2")
    page.locator("input[name=attention_ratio]").fill("0.25")
    page.set_input_files("#files", files(*sent.items()))
    page.wait_for_selector(".item.running, .item.done")
    while len(server.client.get("/api/v1/jobs").json()["jobs"]) < len(sent):
        page.wait_for_timeout(50)  # what the page still holds goes with the page
    page.reload()  # all is in the service; the form is remembered, too
    is_done(page, 3)
    assert page.locator("#count").text_content() == "3 of 3 done"
    assert page.locator("input[name=scale]").input_value() == "2"
    with page.expect_download() as download:
        page.locator("#zip").click()
    download.value.save_as(tmp_path / "all.zip")
    jobs = {each["name"]: each for each in server.client.get("/api/v1/jobs").json()["jobs"]}
    assert jobs.keys() == sent.keys()
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert sorted(archive.namelist()) == [f"picture {number}_x2.png" for number in range(3)]
        for name in sent:
            job = jobs[name]
            assert job["options"] == {"scale": 2.0, "attention_ratio": 0.25}
            content = archive.read(name.replace(".png", "_x2.png"))
            assert content == server.client.get(job["links"]["result"]).content


def test_before_and_after_meet_at_the_slider_at_deep_zoom(
    server: Server, enter: Callable[..., Any]
) -> None:
    job = server.over(server.job(png(150, 200), scale="4"))
    page = enter(server, f"#job={job['id']}")
    page.wait_for_selector("#pane-one canvas")
    page.locator("#full").click()
    page.locator("#in").click()
    page.locator("#in").click()
    page.wait_for_function("() => parseInt(document.getElementById('zoom').textContent) >= 200")
    slider = page.locator("#slider")

    def at(value: str) -> np.ndarray:
        slider.evaluate(
            "(made, value) => { made.value = value; made.dispatchEvent(new Event('input')); }", value
        )
        page.wait_for_timeout(700)
        return shot(page, "#pane-one")

    before, after = at("100"), at("0")
    assert np.abs(before - after).mean() > 2.0  # bicubic interpolation is another picture
    box = page.locator("#split").bounding_box()
    frame = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, frame["y"] + frame["height"] / 2)
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.7 * frame["width"], frame["y"] + frame["height"] / 2, steps=8)
    page.mouse.up()
    page.wait_for_timeout(700)
    assert abs(float(slider.input_value()) - 70) < 1
    both = shot(page, "#pane-one")
    cut, far = round(0.7 * both.shape[1]), 40
    for part, own, other in (
        (np.s_[:-60, : cut - far], before, after),
        (np.s_[:-60, cut + far :], after, before),
    ):
        away = np.abs(both[part] - other[part]).mean()
        assert np.abs(both[part] - own[part]).mean() < 0.3 * away
    page.locator("#pane-one").focus()
    page.keyboard.press(",")
    assert abs(float(slider.input_value()) - 68) < 1


def test_the_route_map_is_a_layer_with_its_share(server: Server, enter: Callable[..., Any]) -> None:
    job = server.over(server.job(png(128, 192), scale="2"))
    page = enter(server)
    page.locator(".item .show").click()
    page.wait_for_selector("#pane-one canvas")
    page.wait_for_timeout(1000)
    plain = shot(page)
    page.locator("#shown-name").press("r")
    page.wait_for_selector("#legend:not([hidden])")
    page.wait_for_timeout(1000)
    share = round(100 * job["facts"]["attention_share"])
    assert page.locator("#share").text_content() == f"{share} % of windows attended"
    assert page.locator("#map").get_attribute("aria-pressed") == "true"
    assert np.abs(shot(page) - plain).mean() > 10
    page.locator("#map").click()
    page.wait_for_timeout(700)
    assert np.abs(shot(page) - plain).mean() < 1


@pytest.mark.slow
def test_results_of_two_ratios_stand_side_by_side(
    serve: Callable[..., Server], enter: Callable[..., Any]
) -> None:
    server = serve().ready()
    first = server.over(server.job(png(64, 96), scale="2"))
    page = enter(server, f"#job={first['id']}")
    page.locator("input[name=attention_ratio]").fill("0")
    page.locator("input[name=scale]").fill("2")
    page.locator("#again").click()
    is_done(page, 2)
    page.locator("#against").select_option(label="s-x2, attention 0 %, 192 \u00d7 128")
    page.get_by_text("Side by side").click()
    page.wait_for_selector("#pane-two canvas")
    page.locator("#in").click()
    page.wait_for_timeout(1000)
    one, two = shot(page, "#pane-one"), shot(page, "#pane-two")
    assert one.std() > 10
    assert two.std() > 10
    assert page.locator("#tag-left").text_content() == "s-x2, attention 0 %, 192 \u00d7 128"
    assert page.locator("#tag-right").text_content() == "s-x2, attention 50 %, 192 \u00d7 128"


@pytest.mark.slow
def test_a_running_job_is_cancelled_and_tried_again(server: Server, enter: Callable[..., Any]) -> None:
    page = enter(server)
    page.set_input_files("#files", files(("large.png", png(1100, 1100))))
    page.wait_for_selector(".item.running progress")
    page.get_by_role("button", name="Cancel large.png").click()
    page.wait_for_selector(".item.cancelled")
    page.get_by_role("button", name="Try large.png again").click()
    page.wait_for_selector(".item.running, .item.queued")
    page.get_by_role("button", name="Cancel large.png").click()
    page.wait_for_selector(".item.cancelled")
    assert [each["state"] for each in server.client.get("/api/v1/jobs").json()["jobs"]] == ["cancelled"]


@pytest.mark.slow
def test_what_is_no_picture_is_said_at_its_place(
    serve: Callable[..., Server], enter: Callable[..., Any]
) -> None:
    server = serve().ready()
    page = enter(server)
    page.set_input_files("#files", files(("note.png", b"this is a text"), ("good.png", png())))
    page.wait_for_selector(".item.failed")
    assert "picture" in page.locator(".item.failed .state").text_content()
    is_done(page, 1)
    page.get_by_role("button", name="Remove note.png").click()
    page.wait_for_function("() => document.querySelectorAll('.item').length === 1")


def test_a_panorama_is_looked_at_from_within(server: Server, enter: Callable[..., Any]) -> None:
    across, down = np.meshgrid(np.linspace(0, 255, 128), np.linspace(0, 255, 64))
    picture = np.stack([across, down, 255 - across], axis=2).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    job = server.over(server.job(buffer.getvalue(), options=json.dumps({"projection": "erp", "scale": 2})))
    page = enter(server, f"#job={job['id']}")
    page.wait_for_selector("#globe:not([hidden])")
    page.wait_for_timeout(1500)
    ahead = shot(page, "#globe")
    middle = ahead[ahead.shape[0] // 2 - 5 :][:10, ahead.shape[1] // 4 - 5 :][:, :10].mean(axis=(0, 1))
    assert 60 < middle[0] < 128  # left of the middle of the picture
    assert abs(middle[1] - 127) < 15  # on the horizon
    page.locator("#globe").focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    turned = shot(page, "#globe")
    assert turned[:, : turned.shape[1] // 3, 0].mean() > ahead[:, : ahead.shape[1] // 3, 0].mean() + 20
    page.locator("#sphere").click()
    page.wait_for_selector("#pane-one canvas")
    assert page.locator("#globe").is_hidden()


@pytest.mark.slow
def test_a_part_of_a_panorama_lies_where_it_belongs(server: Server, enter: Callable[..., Any]) -> None:
    """A quarter of the way around, from 45 degrees above the horizon to 11.25 below it."""
    picture = Image.fromarray(np.full((40, 64, 3), 200, np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", xmp=XMP.encode())
    job = server.over(server.job(buffer.getvalue(), "part.jpg", scale="2"))
    assert job["facts"]["sphere"] == {"across": 0.25, "top": 0.25, "down": 0.3125}
    page = enter(server, f"#job={job['id']}")
    page.wait_for_selector("#globe:not([hidden])")
    page.wait_for_timeout(1500)
    seen = shot(page, "#globe").mean(axis=2)
    high, wide = seen.shape
    focal = wide / 2 / np.tan(1.3 / 2)  # the view's angle at the start
    middle = seen[:, wide // 4]  # away from the slider's handle
    row = high // 2 + round(focal / np.cos(np.arctan(wide / 4 / focal)) * np.tan(np.radians(11.25)))
    assert middle[high // 2] > 150
    assert middle[row - 12] > 150
    assert middle[row + 12] < 60
    assert seen[high // 2, 3] > 150  # 37 degrees to the left of ahead; the picture reaches 45
    page.locator("#globe").focus()
    for _ in range(4):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert shot(page, "#globe").mean(axis=2)[high // 2, 3] < 60


@pytest.mark.slow
def test_a_finger_moves_the_slider(server: Server, enter: Callable[..., Any]) -> None:
    job = server.over(server.job(png(), scale="2"))
    page = enter(server, f"#job={job['id']}", viewport={"width": 390, "height": 800}, has_touch=True)
    page.wait_for_selector("#pane-one canvas")
    box, frame = page.locator("#split").bounding_box(), page.locator("#frame").bounding_box()
    driver = page.context.new_cdp_session(page)
    y = frame["y"] + frame["height"] / 2

    def touch(kind: str, *at: float) -> None:
        points = [{"x": x, "y": y} for x in at]
        driver.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", box["x"] + box["width"] / 2)
    for share in (0.45, 0.35, 0.25):
        touch("touchMove", frame["x"] + share * frame["width"])
    touch("touchEnd")
    assert abs(float(page.locator("#slider").input_value()) - 25) < 1


@pytest.mark.slow
def test_a_folder_is_dropped(
    serve: Callable[..., Server], enter: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve().ready()
    for name in ("photos/a.png", "photos/inner/b.png", "photos/.hidden.png", "photos/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png())
    page = enter(server)
    driver = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path / "photos")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        driver.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})
    is_done(page, 2)
    names = {job["name"] for job in server.client.get("/api/v1/jobs").json()["jobs"]}
    assert names == {"a.png", "b.png"}


def test_a_film_is_compared_by_a_frame_and_played(
    server: Server, enter: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="needs the extra `video`: av is not installed")
    from tests.video.conftest import make_film, scenes

    kind = {"codec": "libx264", "pixel_format": "yuv420p", "tags": (1, 1, 1, 1), "aspect": None}
    page = enter(server)
    page.locator("input[name=scale]").fill("2")
    page.locator("#more summary").click()
    page.locator("select[name=film-without]").select_option(["audio", "subtitle"])
    page.locator("input[name=film-end]").fill("0:00.25")
    page.set_input_files("#files", [make_film(tmp_path / "a.mp4", list(scenes(8)), **kind)])
    page.wait_for_selector(".item.running .state:has-text('Frame'), .item.done")
    is_done(page, 1)
    (job,) = server.client.get("/api/v1/jobs").json()["jobs"]
    assert job["options"] == {"scale": 2.0, "without": ["audio", "subtitle"], "end": 0.25}
    page.locator(".item .show").click()
    page.wait_for_selector("#pane-one canvas")
    page.evaluate(AXE.read_text())
    assert page.locator("#download").get_attribute("download") == "a_x2.mp4"
    assert shot(page, "#pane-one").std() > 10
    page.locator("#play").click()
    page.wait_for_function("() => document.getElementById('film').videoWidth > 0")
    assert page.locator("#film").evaluate("film => [film.videoWidth, film.videoHeight]") == [128, 96]
    assert page.locator("#pane-one").is_hidden()
    found = page.evaluate("axe.run().then((result) => result.violations.map((each) => each.id))")
    assert found == []
    page.locator("#play").click()
    page.wait_for_selector("#pane-one canvas")
    assert page.locator("#film").is_hidden()
    page.reload()  # the form is remembered
    page.wait_for_selector(".line.up")
    chosen = "made => [...made.selectedOptions].map((each) => each.value)"
    assert page.locator("select[name=film-without]").evaluate(chosen) == ["audio", "subtitle"]


def test_a_film_that_the_browser_cannot_play_is_said(
    server: Server, enter: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("av", reason="needs the extra `video`: av is not installed")
    from tests.video.conftest import make_film, scenes

    kind = {"codec": "libx264", "pixel_format": "yuv420p", "tags": (1, 1, 1, 1), "aspect": None}
    content = make_film(tmp_path / "a.mkv", list(scenes(2)), beside=False, **kind).read_bytes()
    job = server.over(server.job(content, "a.mkv", scale="1", codec="ffv1"))
    page = enter(server, f"#job={job['id']}")
    page.wait_for_selector("#pane-one canvas")
    page.locator("#shown-name").press("p")
    page.wait_for_selector("#unplayable:not([hidden])")
    assert "choose mp4" in page.locator("#unplayable").text_content()
    page.keyboard.press("p")
    page.wait_for_selector("#pane-one canvas")
    assert page.locator("#unplayable").is_hidden()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 390)])
def test_axe_finds_nothing(server: Server, enter: Callable[..., Any], scheme: str, width: int) -> None:
    job = server.over(server.job(png(), scale="2"))
    server.over(server.job(png(200, 200)[:20_000], "broken.png"))
    page = enter(server, color_scheme=scheme, viewport={"width": width, "height": 844})
    page.evaluate(AXE.read_text())  # past the page's policy, as a tool of the browser's

    def violations() -> list[str]:
        found = page.evaluate("axe.run().then((result) => result.violations)")
        return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]

    assert violations() == []
    page.locator("#more summary").click()
    assert violations() == []
    page.locator(f".item:has-text('{job['name']}') .show").click()
    page.wait_for_selector("#pane-one canvas")
    page.locator("#map").click()
    page.wait_for_selector("#legend:not([hidden])")
    assert violations() == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_the_page_asks_for_the_token(
    serve: Callable[..., Server], enter: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text("a-token-of-mine-0123\n")
    server = serve("--token-file", tmp_path / "tokens")
    page = enter(server, ready=False)
    page.wait_for_selector("#enter[open]")
    page.locator("#token").fill("a wrong one")
    page.get_by_role("button", name="Enter").click()
    page.wait_for_selector("#enter-wrong:has-text('not a token')")
    page.locator("#token").fill("a-token-of-mine-0123")
    page.get_by_role("button", name="Enter").click()
    page.wait_for_selector(".line.up")
    assert page.locator("#enter").is_hidden()
    page.reload()
    page.wait_for_selector(".line.up")


def test_the_page_loads_nothing_from_elsewhere_and_has_nothing_inline() -> None:
    folder = Path(__file__).parents[2] / "src" / "camixersr" / "web" / "page"
    own = [path for path in folder.iterdir() if path.suffix in (".html", ".js", ".css", ".svg")]
    assert len(own) >= 9
    for path in own:
        text = path.read_text()
        assert not re.search(r"""(src|href|url\(|import .* from)\s*=?\s*["']?(https?:)?//""", text), path
        assert not re.search(r"\son\w+\s*=\s*[\"']|\sstyle\s*=\s*[\"']|<style|<script>", text), path
    listed = (folder / "vendor" / "VENDORED.txt").read_text()
    import hashlib

    for path in (folder / "vendor").iterdir():
        if path.name != "VENDORED.txt":
            assert path.name in listed
            assert hashlib.sha256(path.read_bytes()).hexdigest() in listed
