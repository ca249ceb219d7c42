"""Entry point of the group ``torch.backends``: lets an unmodified ``mace_run_train`` see us.

Torch calls :func:`register` at the end of ``import torch``, in every Python process that has
this package installed. It therefore imports nothing beyond the standard library, does nothing
until MACE is imported, and never raises.
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


def register() -> None:
    """Arrange that MACE's seams are wrapped when, and only when, MACE is imported.

    Idempotent; raises nothing.
    """
    if any(type(finder) is _FirstMaceImport for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _FirstMaceImport())
