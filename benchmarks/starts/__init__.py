"""Conversion, starts and health of models with Derf, measured on small models that are trained here."""
