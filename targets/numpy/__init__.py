"""The reference interpreter as a target."""
