"""`python -m jaxmi`: the command line."""

from jaxmi.cli.main import main

if __name__ == "__main__":
    main()
