#!/usr/bin/env python3
"""`xpmlp show`, from a clone."""

from xpmlp.commands.main import carry_out

if __name__ == "__main__":
    carry_out("show")
