"""JAX, which compiles."""
