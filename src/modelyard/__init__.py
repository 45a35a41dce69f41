"""Modelyard: raw data to a served, compressed model, with the proof of every step."""

__version__ = "0.1.0"
