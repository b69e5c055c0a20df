"""CuPy on an NVIDIA GPU: products that can be recorded, fused functions, CUDA graphs."""
