"""Files and pixels: reading, writing and resizing pictures, with numpy and without torch."""
