"""This package is timm-conformance: what every timm model keeps of its promises, proved where others sample.

Importing this package is cheap: neither torch nor timm is imported until something of theirs is used.
"""

__version__ = "0.1.0"
