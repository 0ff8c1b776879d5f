"""The registry of models: every file is one model, both programs side by side."""
