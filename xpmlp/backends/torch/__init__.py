"""PyTorch, whose tensors compute on many kinds of device."""
