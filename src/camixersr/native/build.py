"""Compile the core: what `python -m camixersr.native` and the package's build do.

Only Python's own library is used, and nothing of the package: the package may not be installed yet.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
LIBRARY = "libcamixersr.so"
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl")
PATHS = {
    "avx2": AVX2,
    "avx512": AVX512,
    "avx512_bf16": (*AVX512, "-mavx512bf16"),
    "amx": (*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"),
}
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-fvisibility=hidden",
    "-pthread",
)


def why_not() -> str:
    """Why the core cannot be built here, in one line; empty if it can."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        return f"it is for Linux on x86-64, and this is {sys.platform} on {platform.machine()}"
    if compiler() is None:
        return "there is no C++ compiler (g++ or clang++, or one that CXX names)"
    return ""


def compiler() -> str | None:
    """The C++ compiler; None if there is none."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


def digest() -> str:
    """Of the sources: a library that was compiled from others is not used."""
    found = hashlib.sha256()
    for path in sorted([*HERE.glob("*.h"), *HERE.glob("*.cpp")]):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def build(target: Path = HERE / LIBRARY, *, more: tuple[str, ...] = ()) -> None:
    """Compile the core, its paths side by side; not again if it is there from these sources.

    Args:
        target: the library.
        more: flags beside ours.

    Raises:
        OSError: there is no compiler, or the library cannot be written.
        subprocess.CalledProcessError: the compiler failed; `stderr` says why.
    """
    program, version = compiler(), digest()
    if program is None:
        raise FileNotFoundError(why_not())
    if not more and target.exists() and version.encode() in target.read_bytes():
        return

    def run(*arguments: str) -> None:
        command = [program, *FLAGS, *more, *arguments]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE)

    with TemporaryDirectory() as folder:
        objects = {name: str(Path(folder) / f"{name}.o") for name in ("interface", *PATHS)}

        def compile_path(name: str) -> None:
            run(*PATHS[name], f"-DPATH_NAME=native_{name}", "-c", "path.cpp", "-o", objects[name])

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(compile_path, PATHS))
        run(f'-DCAMIXER_VERSION="{version}"', "-c", "interface.cpp", "-o", objects["interface"])
        # moved into place: a process that has the old one open keeps it
        partial = target.with_suffix(f".{os.getpid()}.partial")
        try:
            run("-shared", "-static-libstdc++", "-static-libgcc", *objects.values(), "-o", str(partial))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
