"""What tests share: slow twins of formulas, tiny models, made samples."""
