"""Training, on Lightning: photographs in, a file of weights out.

recipe -> photos -> objective -> fit. Nothing here needs the command line or the codec, so that a
training machine wants only torch, lightning, numpy and Pillow. Install with the extra `train`.
"""
