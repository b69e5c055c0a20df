"""From a model and a plan to a trained network: steps, log points, stopping, stacks."""
