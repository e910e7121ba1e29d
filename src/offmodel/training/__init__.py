"""Training of students: objectives as weights on tokens, a fused language-model head, LoRA and full weights; GRPO and
on-policy distillation."""
