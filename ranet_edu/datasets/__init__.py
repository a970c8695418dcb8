"""What training and evaluation read: DAVIS, folders of stills, generated clips, and the augmentations on them."""
