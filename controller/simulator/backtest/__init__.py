"""Policies on recorded or generated load: what each would have cost and kept."""
