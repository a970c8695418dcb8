"""Learn video object segmentation by building RANet (Wang et al., ICCV 2019).

`ranet_edu.model` is one forward pass, `ranet_edu.video` a whole video; the notebooks build both, step by step.
Importing the package loads none of its parts, so that each part costs only those who use it.
"""

__version__ = "0.1.0"
