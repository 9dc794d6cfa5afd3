"""`python -m derf` prints how derf was built; `… replace` what replace_norm would do; `… functions` the family."""

from .cli import main

if __name__ == "__main__":
    main()
