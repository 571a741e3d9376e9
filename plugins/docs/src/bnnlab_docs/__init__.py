"""The documents of bnnlab, as a site that needs no network."""
