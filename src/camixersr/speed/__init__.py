"""How fast this machine is: a plain reference, and what everything else is measured against it."""
