"""What every server of this package stands on: a port, who may ask, errors as JSON (needs FastAPI and uvicorn)."""
