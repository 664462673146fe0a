"""`synthio bench`: datasets x sizes x arms x seeds, their statistics and their tables."""
