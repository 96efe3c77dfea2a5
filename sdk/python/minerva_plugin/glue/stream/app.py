"""What the world of stream processors exports. See streaming.py for the session."""

# componentize-py looks for the session in a module of the interface's name.
import streaming  # noqa: F401
from minerva_plugin import schema_text
from plugin import Plugin
from wit_world import exports
from wit_world.imports.types import About


class Streaming(exports.Streaming):
    def describe(self) -> About:
        about = Plugin.about
        return About(about.version, about.summary, schema_text(about))
