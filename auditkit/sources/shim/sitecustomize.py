"""Start the recorder inside a recorded Python, then hand over to the sitecustomize that was there before.

`site` imports this because its folder comes first on PYTHONPATH.  It leaves nothing behind: the folder goes from
`sys.path`, the modules from `sys.modules`, and the program sees its own sitecustomize, or none.  The text must
parse in every Python a program may start, the ancient ones included: they run on, unrecorded.  Imported under any
other name (by a test, by a tool that walks the package) it does nothing.
"""

import sys

if __name__ == "sitecustomize":
    if hasattr(sys, "addaudithook"):  # since Python 3.8
        _before = set(sys.modules)
        try:
            import _auditkit_hook  # type: ignore[import-not-found]

            _auditkit_hook.start()
        except Exception:  # noqa: S110 - whatever ails the recorder is not the program's trouble
            pass
        for _name in set(sys.modules) - _before:
            del sys.modules[_name]
    _folder = __file__.rpartition("/")[0]
    sys.path[:] = [entry for entry in sys.path if entry != _folder]
    sys.path_importer_cache.pop(_folder, None)
    del sys.modules["sitecustomize"]
    # The next one, or the ImportError that `site` expects where there is none.
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
