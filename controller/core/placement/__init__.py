"""Where the instances of a request go: pure functions of a fleet's values."""
