"""The four words of bnnlab, and what passes between them: model, rule, optimizer, stream."""
