"""The known formats, in the order in which they are tried."""

from piwsl_plugins.data.readers.ani import AniSource
from piwsl_plugins.data.readers.ase_databases import DatabaseSource
from piwsl_plugins.data.readers.ase_files import AseSource
from piwsl_plugins.data.readers.base import Source
from piwsl_plugins.data.readers.spice import SpiceSource
from piwsl_plugins.data.readers.tables import TableSource

ALL: tuple[type[Source], ...] = (AniSource, SpiceSource, DatabaseSource, TableSource, AseSource)
