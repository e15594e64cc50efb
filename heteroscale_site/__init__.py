"""The project: settings, start-up and the processes the product is made of."""
