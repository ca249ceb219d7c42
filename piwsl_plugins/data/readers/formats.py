"""The known formats, in the order in which they are tried."""

from piwsl_plugins.data.readers.ase_files import AseSource
from piwsl_plugins.data.readers.base import Source

ALL: tuple[type[Source], ...] = (AseSource,)
