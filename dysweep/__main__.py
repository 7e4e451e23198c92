"""`python -m dysweep COMMAND`: the same as `dysweep COMMAND`."""

from dysweep.cli import main

if __name__ == "__main__":
    main()
