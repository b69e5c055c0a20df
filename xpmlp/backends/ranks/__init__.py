"""Several processes that share one training, through MPI."""
