"""What Triton's Python backend runs for a model that CTranslate2 serves.

Every file but this one goes into the model's folder in the model repository, and runs in the
engine's environment: nothing here imports the application.
"""
