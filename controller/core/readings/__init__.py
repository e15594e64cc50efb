"""What engines export, and how signals are made of it: for queries and for scrapes alike."""
