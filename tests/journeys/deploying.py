"""How journeys deploy: on this machine's processor, with short answers."""

CONFIGURATION = {
    "parameters": {"temperature": 0.0, "maxTokens": 8},
    "hardware": {"server": "local", "accelerator": "cpu", "memoryGib": 4.0},
    "engineArguments": {"max_model_len": "256"},
}
