"""`python -m derf` prints how derf was built and what it uses here."""

from . import show_config

if __name__ == "__main__":
    print(show_config())
