"""Where replicas run: each launcher is one module, and all answer to `launcher.Launcher`."""
