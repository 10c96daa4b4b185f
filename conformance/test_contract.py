"""This module stands for the contract in pytest: `pytest --pyargs conformance` collects it.

The items are made by `conformance.run.pytest_plugin`, lighter than 34,000 parametrised functions would be.
"""
