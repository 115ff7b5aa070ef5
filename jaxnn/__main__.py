"""`python -m jaxnn` is the command `jaxnn`."""

from jaxnn.cli import command

if __name__ == "__main__":
    command()
