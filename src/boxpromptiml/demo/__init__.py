"""The whole method in five minutes, on photographs that need no download."""
