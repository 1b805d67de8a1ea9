"""A vision tower and a decoder, both pretrained, become a LLaVA: trains the projector between them, and LoRA."""
