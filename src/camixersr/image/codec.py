"""Pictures in, pictures out: `decode` and `encode` under one name."""

from camixersr.image.decode import Opened, open_image, prepare, read
from camixersr.image.encode import check_writable, complete, finish, save, write, write_pages
from camixersr.image.formats import WRITABLE
from camixersr.image.libvips import damaged, unwritable, vips
from camixersr.image.picture import MAX_PIXELS, Picture

__all__ = [
    "MAX_PIXELS",
    "WRITABLE",
    "Opened",
    "Picture",
    "check_writable",
    "complete",
    "damaged",
    "finish",
    "open_image",
    "prepare",
    "read",
    "save",
    "unwritable",
    "vips",
    "write",
    "write_pages",
]
