"""Figures as SVG: where each mark is, in the units of the drawing."""
