"""Streams of few numbers per input: made data in the plane and on a line, and a medical table."""
