"""Other servers to compare the service with, each written as its users would."""
