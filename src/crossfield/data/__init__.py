"""From raw files to encoded batches."""
