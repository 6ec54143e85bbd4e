"""Training on several processes: the only place that knows of ranks. Alone, all of it does nothing."""
