"""What examples are stored in: each format reads a path into parts."""
