"""Trained models: files, predictions, scores, explanations."""
