"""Terms of the objective: losses that read labels, priors that read none."""
