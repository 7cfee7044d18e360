"""Models, and the files that hold them."""

from camixersr.weights.files import load_file, plain_name, save
from camixersr.weights.model import Model, Weights

__all__ = ["Model", "Weights", "load_file", "plain_name", "save"]
