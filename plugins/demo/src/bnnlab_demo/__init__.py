"""The first minute with bnnlab: three methods compared on five tasks."""
