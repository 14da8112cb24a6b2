"""What users meet: fit, score, label, save."""
