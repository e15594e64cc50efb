"""Where signals come from; by the kind of a cluster."""
