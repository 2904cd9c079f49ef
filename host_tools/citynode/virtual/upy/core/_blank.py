"""A module that `_facade` makes into another one."""
