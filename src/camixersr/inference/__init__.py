"""From a picture of any size to its enlargement: tiles, blending, and the one `Upscaler`."""
