"""Run code of others, and leave no trace: what a process or a module was before is put back."""
