"""`python -m derf` prints how derf was built; `python -m derf replace` what replace_norm would do to a model."""

from .cli import main

if __name__ == "__main__":
    main()
