"""What the service is measured against, each written as its users would."""
