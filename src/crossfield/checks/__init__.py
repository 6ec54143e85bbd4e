"""What can be wrong with rows before anything is trained: leaks, overlaps, copies, columns, labels."""
