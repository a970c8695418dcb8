"""A whole video: reading and writing frames and masks, and the loop that segments frame after frame."""
