"""Let an unmodified ``mace_run_train`` see the PIWSL losses.

The line of ``piwsl_plugins.pth`` imports this module whenever Python starts in an environment with
this package. It imports nothing beyond ``sys``, does nothing until MACE is imported, and raises
nothing then.
"""

import sys


class _FirstMaceImport:
    """Meta-path finder that finds nothing and only notices the first ``mace.*`` import.

    It stays in ``sys.meta_path``: to leave it during a search would hide the next finder from it.
    """

    def __init__(self) -> None:
        self._waiting = True

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if self._waiting and fullname.startswith("mace."):
            self._waiting = False
            _install()


def _install() -> None:
    try:
        from piwsl_plugins.hosts.mace.seams import install

        install()
    except Exception as error:  # a defect here must not break a user's `import mace`
        print(
            f"piwsl-plugins: the MACE losses could not be registered ({error!r}); "
            "MACE runs as without this package.",
            file=sys.stderr,
        )


sys.meta_path.insert(0, _FirstMaceImport())
