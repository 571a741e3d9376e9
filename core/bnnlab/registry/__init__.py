"""What there is: plugins are found, loaded guardedly, and asked for their components. No torch."""
