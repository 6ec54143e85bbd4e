"""The bricks models are built from: one idea a file."""
