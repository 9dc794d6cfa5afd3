"""The wheel of a release: the Python package and a library for each torch, which derf/_library.py chooses from.

``python -m tools.wheels --help``, from the repository's root. CONTRIBUTING.md has the commands of a release.
"""
