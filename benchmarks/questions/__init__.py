"""The paper's questions, asked of real sets: forms, priors, self-training, transfer, curriculum, gold, size, noise."""
