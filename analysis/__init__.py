"""Figures and tables from committed results: reads `data/results`, loads no model, needs no GPU."""
