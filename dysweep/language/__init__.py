"""The sweep language: from a tree of settings to flat parameters, and back."""
