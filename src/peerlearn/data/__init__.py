"""Data sets, splits, batched augmentation and loaders."""
