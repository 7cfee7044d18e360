"""Build the wheels and the sdist into `dist/`, and check that a package index would take and show them.

Run by `make dist`. Everything is built twice, and both must have the same bytes. CAMIXERSR_ADDRESS names
the repository whose pages the README links to (`hatch_build.py`).
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PHOTO = ROOT / "samples" / "summer-palace.jpg"
TESTS = (
    "tests/test_api.py tests/test_house.py tests/test_packaging.py tests/test_other_systems.py tests/image"
)
FIXED = "1700000000"


def call(*command: str | Path, quiet: bool = True, **environment: str) -> None:
    """Run a program, and end with what it said if it fails."""
    shown = " ".join(map(str, command))
    there = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    there |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "CAMIXERSR_A"))}
    ended = subprocess.run(
        [str(each) for each in command],
        env=there | environment,
        capture_output=quiet,
        text=True,
        check=False,
    )
    if ended.returncode:
        sys.exit(f"{shown}: failed\n{ended.stdout or ''}{ended.stderr or ''}")


def epoch() -> str:
    """The time that is written into archives: given, of the last commit, or a fixed one."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    asked = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or FIXED


def build(folder: Path) -> list[Path]:
    """An sdist; from it a wheel for every system, and one with the native core where it can be compiled."""
    when = {"SOURCE_DATE_EPOCH": epoch()}
    python = (sys.executable, "-m", "build", "--no-isolation")
    call(*python, "--sdist", "-o", folder, ROOT, **when)
    (sdist,) = folder.glob("*.tar.gz")
    with TemporaryDirectory() as place:
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        (source,) = Path(place).iterdir()
        call(*python, "--wheel", "-o", folder, source, CAMIXERSR_NATIVE="off", **when)
        call(*python, "--wheel", "-o", place, source, **when)
        for wheel in Path(place).glob("*-linux_*.whl"):  # an index wants the C library named
            repair = ("auditwheel", "repair", "--wheel-dir", folder, wheel)
            call(
                sys.executable,
                "-m",
                *repair,
                PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **when,
            )
    return sorted(folder.iterdir())


def check_content(files: list[Path]) -> None:
    """The sdist has every file that git has; wheels have licences, types and models, and no tests."""
    for file in files:
        if file.suffix == ".gz":
            with tarfile.open(file) as archive:
                names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
            asked = subprocess.run(
                ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
            )
            lacks = {name for name in asked.stdout.splitlines() if not name.startswith(".ci/")} - names
            if lacks:
                sys.exit(f"{file.name}: lacks {', '.join(sorted(lacks))}; see pyproject.toml")
            continue
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
        info = next(name.split("/")[0] for name in names if name.endswith("/METADATA"))
        licences = ("LICENSE", "NOTICE", "src/camixersr/web/page/vendor/openseadragon-LICENSE.txt")
        wanted = {f"{info}/licenses/{name}" for name in licences}
        wanted |= {
            f"camixersr/{name}" for name in ("py.typed", "assets/s-x4.safetensors", "web/page/index.html")
        }
        native = {name for name in names if name.endswith(".so")}
        if not wanted <= names or {name for name in names if name.split("/")[0] not in ("camixersr", info)}:
            sys.exit(f"{file.name}: lacks {sorted(wanted - names)}, or has files outside the package")
        if bool(native) == file.name.endswith("-none-any.whl"):
            sys.exit(f"{file.name}: {sorted(native)} does not fit its name")


def check_page(file: Path) -> None:
    """The README renders as an index renders it, and its pictures and links are whole addresses."""
    from readme_renderer.markdown import render

    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/METADATA"))
        text = message_from_bytes(archive.read(name)).get_payload(decode=True)
    assert isinstance(text, bytes)
    shown = render(text.decode())
    if shown is None:
        sys.exit("README.md: cannot be rendered for an index")
    for part in ('src="', 'href="'):
        for address in (each.split('"')[0] for each in shown.split(part)[1:]):
            if not address.startswith(("https://", "http://", "#")):
                sys.exit(f"README.md: {address} leads nowhere on an index")


def check_use(files: list[Path], tests: str) -> None:
    """A wheel alone enlarges a photo, and the sdist passes its tests, both far from here."""
    wheel = next((file for file in files if "manylinux" in file.name), files[0])
    (sdist,) = (file for file in files if file.suffix == ".gz")
    with TemporaryDirectory() as place:
        call(sys.executable, "-m", "venv", f"{place}/venv")
        call(f"{place}/venv/bin/pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel)
        shutil.copy(PHOTO, f"{place}/photo.jpg")
        call(f"{place}/venv/bin/camixersr", "upscale", f"{place}/photo.jpg", "-o", f"{place}/large.png")
        print(f"{wheel.name}: installed alone, it enlarges a photo")
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        source = Path(place) / sdist.name.removesuffix(".tar.gz")
        run = ("-m", "pytest", "-q", "--rootdir", source, "-c", source / "pyproject.toml")
        paths = [source / each for each in tests.split()]
        call(sys.executable, *run, *paths, quiet=False, PYTHONPATH=f"{source / 'src'}:{source}")
        print(f"{sdist.name}: unpacked elsewhere, it passes {tests}")


def main() -> None:
    """Build, check, and put into `dist/`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", default=TESTS, help="what the unpacked sdist runs; 'tests' for all")
    parser.add_argument("--build-only", action="store_true", help="leave out installing and running")
    given = parser.parse_args()
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        files, again = build(Path(one)), build(Path(other))
        for file, second in zip(files, again, strict=True):
            if file.name != second.name or not filecmp.cmp(file, second, shallow=False):
                sys.exit(f"{file.name}: built twice, and not the same bytes")
        print("the same bytes twice")
        call(sys.executable, "-m", "twine", "check", "--strict", *files)
        check_content(files)
        check_page(next(file for file in files if file.suffix == ".whl"))
        print("an index takes them, and shows the README")
        if not given.build_only:
            check_use(files, given.tests)
        target = ROOT / "dist"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for file in files:
            shutil.copy(file, target)
            print(f"dist/{file.name}  {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
