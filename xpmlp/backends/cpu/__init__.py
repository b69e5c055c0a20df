"""numpy on a CPU: its BLAS, its cores, its threads."""
