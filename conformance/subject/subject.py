"""This module is the subject (stub)."""
import timm, torch
class Subject:
    def __init__(self, name): self.name = name
    def model(self):
        with torch.device("meta"):
            return timm.create_model(self.name)
    def close(self): pass
