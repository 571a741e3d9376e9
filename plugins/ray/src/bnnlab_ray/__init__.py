"""An engine for studies: a Ray cluster."""
