"""What to trust a network by: gradient check, diagnostics, predictions, ensembles, a summary."""
