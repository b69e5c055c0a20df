"""The program `xpmlp` with its commands: flags, and what is printed; no mathematics."""
