"""Run foreign code, then put back what it changed in the process or in a module."""
