"""This package is the engine: operations become numbers, and equal numbers mean the same function. It knows no timm."""
