"""Explanations of one trained model, one file per method."""
