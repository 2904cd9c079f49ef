"""Watch running nodes for a while, and tell whether anything was lost."""
