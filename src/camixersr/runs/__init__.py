"""Many pictures: which there are, where results go, what has been done, and the doing of it."""
