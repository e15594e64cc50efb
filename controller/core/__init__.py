"""What the controller thinks: pure functions of values, no clock, no wire, no rows."""
