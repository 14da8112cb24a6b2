"""What sentence scores are worth to one who trains: chained arithmetic, a small policy, best-of-N and GRPO."""
