"""How values read on a page."""
