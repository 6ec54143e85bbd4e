"""Model pages: what a model is, how its data flow, what it costs and what is published, drawn from the code."""
