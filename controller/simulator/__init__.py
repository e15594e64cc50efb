"""A model of P/D engines and clusters that answers the same questions as the real ones."""
