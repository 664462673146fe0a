"""`python -m synthio`: the command line, where its script is not on the path."""

from synthio.cli import main

if __name__ == "__main__":
    main()
