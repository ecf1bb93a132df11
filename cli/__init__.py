"""The command ``circumplex``: the only code that may import both training and service."""
