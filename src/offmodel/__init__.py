"""Off-model SFT: why training on another model's answers costs capability, and what brings it back."""
