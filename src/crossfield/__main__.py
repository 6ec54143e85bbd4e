"""``python -m crossfield`` is the same program as ``crossfield``."""

from crossfield.cli import main

if __name__ == "__main__":
    main()
