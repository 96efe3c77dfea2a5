"""What the world of samplers exports. See sampler.py for the session."""

# componentize-py looks for the session in a module of the interface's name.
import sampler  # noqa: F401
from minerva_plugin import schema_text
from plugin import Plugin
from wit_world import exports
from wit_world.exports.sampler import Descriptor, Tier
from wit_world.imports.types import About


class Sampler(exports.Sampler):
    def describe(self) -> Descriptor:
        about, needs = Plugin.about, Plugin.needs
        tier = Tier[needs.tier.upper().replace("-", "_")]
        about = About(about.version, about.summary, schema_text(about))
        can = (needs.can_fork, needs.can_rollback, needs.backtrack_max)
        return Descriptor(about, tier, needs.cut, needs.reads_row, *can)
