"""The two networks as Flax Linen modules: one example in, (logits, activations) out; fast forms."""
