"""`python -m camixersr`, the same as the command `camixersr`."""

from camixersr.cli import main

if __name__ == "__main__":
    main()
