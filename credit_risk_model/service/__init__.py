"""The HTTP service: rest_model_service, with what it leaves to its users."""
