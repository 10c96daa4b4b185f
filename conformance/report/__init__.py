"""This package turns runs into what people and programs read. It needs neither torch nor timm."""
