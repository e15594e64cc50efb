"""What clusters say they are made of, and what runs in them."""
