"""Parameter groups, optimizers that torch lacks, and learning-rate schedules."""
