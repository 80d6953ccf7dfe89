"""`python -m crucible` is `crucible`."""

from crucible.main import main

if __name__ == "__main__":
    main()
