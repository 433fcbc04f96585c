"""What rest_model_service leaves to its users, and nothing else."""
