"""The process's settings, read once, with errors a person understands."""

from backend.cli.output import fail
from backend.infra.settings import Settings, load_settings


def settings_or_fail() -> Settings:
    """The settings. Ends the command naming each LOGGIA_* variable that is wrong."""
    from pydantic import ValidationError

    try:
        return load_settings()
    except ValidationError as error:
        problems = "; ".join(
            f"LOGGIA_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}"
            for each in error.errors()
        )
        fail(f"the settings are wrong: {problems}", "correct the environment or the file .env")
