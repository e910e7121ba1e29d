"""Engines: one small interface to generate answers and to compare next tokens, and who implements it."""
