"""What a log of decisions tells: that it is whole, that its answers can be had again, and what became of the loans."""
