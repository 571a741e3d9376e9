"""The interfaces of model, rule, optimizer and stream, and the data between them."""
