"""Training: intermediate tasks in English at any size, then English fine-tuning on the targets."""
