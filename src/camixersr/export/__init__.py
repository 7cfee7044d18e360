"""Networks for other programs: the graph, and the files that hold it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camixersr.export.files import export

__all__ = ["export"]


def __getattr__(name: str) -> Any:
    if name == "export":  # which needs onnx, and others here do not
        from camixersr.export.files import export

        return export
    raise AttributeError(f"module 'camixersr.export' has no attribute {name!r}")
