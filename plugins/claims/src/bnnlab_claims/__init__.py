"""Claims: published figures of methods, what was measured here, and what makes it again."""
