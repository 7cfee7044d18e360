"""A ComfyUI node that enlarges images with camixersr.

Copy this folder into ComfyUI's `custom_nodes`, and install camixersr into ComfyUI's Python
(`pip install -r requirements.txt`). A recent ComfyUI takes the node by its V3 schema, older ones by the
first.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

import camixersr
from camixersr.catalogue import embedded
from camixersr.routemap import heat

NAME, TITLE, CATEGORY = "CAMixerSRUpscale", "Upscale (CAMixerSR)", "image/upscaling"
ABOUT = "Enlarge images faithfully: only details get attention. The map shows which parts were attended."


@lru_cache(maxsize=2)
def upscaler_for(model: str) -> camixersr.Upscaler:
    """A model, ready; the last two stay loaded."""
    return camixersr.load(model)


def teller(images: int) -> Callable[[int, int, int], None]:
    """Moves ComfyUI's progress bar, and raises what it raises when the user stops the queue.

    Outside of ComfyUI it does nothing.
    """
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted as check
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda number, done, total: None
    bar = ProgressBar(100 * images)

    def tell(number: int, done: int, total: int) -> None:
        check()
        bar.update_absolute(100 * number + 100 * done // total)

    return tell


def enlarge(image: Tensor, model: str, attention_ratio: float) -> tuple[Tensor, Tensor]:
    """Enlarge a batch as ComfyUI has it.

    Args:
        image: B x H x W x C, RGB and perhaps more channels, floating point in [0, 1].
        model: a name of `camixersr models list`.
        attention_ratio: gamma in [0, 1].

    Returns:
        The images, B x sH x sW x 3; and their route maps, B x rows x columns x 3, one pixel a window.
    """
    upscaler, tell = upscaler_for(model), teller(len(image))
    results: list[Tensor] = []
    maps: list[Tensor] = []
    for number, each in enumerate(image):
        low = each[..., :3].permute(2, 0, 1).float()
        high = upscaler.run(low, attention_ratio=attention_ratio, progress=partial(tell, number))
        results.append(torch.from_numpy(high.high.transpose(1, 2, 0)).clamp(0, 1))
        maps.append(torch.from_numpy(heat(high.shares) / 255).float())
    return torch.stack(results), torch.stack(maps)


class CAMixerSRUpscale:
    """The node by ComfyUI's first schema."""

    CATEGORY = CATEGORY
    DESCRIPTION = ABOUT
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "IMAGE")
    RETURN_NAMES = ("image", "route_map")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        """What the node asks for."""
        return {
            "required": {
                "image": ("IMAGE",),
                "model": (list(embedded()), {"default": "s-x4"}),
                "attention_ratio": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.05}),
            }
        }

    def run(self, image: Tensor, model: str, attention_ratio: float) -> tuple[Tensor, Tensor]:
        """Enlarge."""
        return enlarge(image, model, attention_ratio)


try:
    from comfy_api.v0_0_2 import ComfyExtension, io
except ImportError:  # an older ComfyUI
    NODE_CLASS_MAPPINGS = {NAME: CAMixerSRUpscale}
    NODE_DISPLAY_NAME_MAPPINGS = {NAME: TITLE}
else:  # which ComfyUI only looks at where there are no such mappings

    class CAMixerSRUpscaleV3(io.ComfyNode):
        """The node by ComfyUI's V3 schema."""

        @classmethod
        def define_schema(cls) -> Any:
            """What the node asks for and gives."""
            return io.Schema(
                node_id=NAME,
                display_name=TITLE,
                category=CATEGORY,
                description=ABOUT,
                inputs=[
                    io.Image.Input("image"),
                    io.Combo.Input("model", options=list(embedded()), default="s-x4"),
                    io.Float.Input("attention_ratio", default=0.5, min=0.0, max=1.0, step=0.05),
                ],
                outputs=[io.Image.Output(display_name="image"), io.Image.Output(display_name="route_map")],
            )

        @classmethod
        def execute(cls, image: Tensor, model: str, attention_ratio: float) -> Any:
            """Enlarge."""
            return io.NodeOutput(*enlarge(image, model, attention_ratio))

    class CAMixerSRExtension(ComfyExtension):
        """What ComfyUI asks for nodes."""

        async def get_node_list(self) -> list[Any]:
            """The one node."""
            return [CAMixerSRUpscaleV3]

    async def comfy_entrypoint() -> CAMixerSRExtension:
        """ComfyUI calls this."""
        return CAMixerSRExtension()
