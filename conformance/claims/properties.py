"""This module declares claims."""
