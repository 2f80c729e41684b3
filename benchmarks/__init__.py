"""Figures: `make bench`. Ratios from one run; machines are noisy."""
