"""The models' libraries must not look for anything on a hub."""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, os.path.dirname(__file__))  # zoo.py, under pytest's importlib mode
