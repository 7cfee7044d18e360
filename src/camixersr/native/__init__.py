"""The network by a program of our own, in C++: no torch, and half its time.

`core.h` is the program, compiled once for each set of instructions (`build`); `fold` prepares the
weights; `core.Core` is a network in it. It is the same mathematics as `camixersr.nn` in another order of
sums: pictures agree to rounding, and are the same bytes for any number of threads (decision 0014).
"""
