"""Hardware in the loop: a pytest plugin that hands boards of a bench, or virtual ones, to tests."""
