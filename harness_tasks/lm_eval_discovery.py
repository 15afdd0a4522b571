"""lm_eval finds our tasks and the model type ``xscale`` by itself, and says what a user has to mend in one line.

lm_eval 0.4.13 knows no other folders than its own and those of ``--include_path``. This module waits until lm_eval's index is
imported and adds one folder to those that it walks, and until its model types are, and adds one that is loaded when it is asked
for. No file of lm_eval is touched, however it is installed, and where lm_eval
is not imported nothing happens. An installed xscale imports this module when Python starts (``xscale_lm_eval.pth``), so it
must be quick: it imports nothing but `sys`. Later releases of lm_eval read :data:`FOLDER`, an entry point of the group
``lm_eval.tasks``; a folder that is walked already is not added again.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` takes longer to import than all of this
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

INDEX = "lm_eval.tasks._index"
MODELS = "lm_eval.models"
MODEL_TYPE = "xscale.evaluation.encoder_lm:EncoderLM"


def __getattr__(name: str) -> Any:
    if name == "FOLDER":
        from harness_tasks.tasks import yaml_folder

        return yaml_folder()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Finder:
    """Lets the other finders find lm_eval's modules of `todo`, and has its function called with one once it is loaded."""

    def __init__(self, todo: dict[str, Any]) -> None:
        self.todo = todo

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in self.todo:
            return None
        then = self.todo.pop(name)
        if not self.todo:
            sys.meta_path.remove(self)
        from importlib.util import find_spec

        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _add_our_folder(index: ModuleType) -> None:
    """Let ``TaskIndex.build(paths)`` walk our folder after lm_eval's own and before those of ``--include_path``."""
    from functools import wraps
    from pathlib import Path

    from harness_tasks.errors import UserError
    from harness_tasks.tasks import yaml_folder

    build = getattr(getattr(index, "TaskIndex", None), "build", None)
    if build is None or index.__file__ is None:  # not lm_eval 0.4.13's; there is still --include_path
        return
    own = Path(index.__file__).parent

    @wraps(build)
    def with_ours(paths: Any, **options: Any) -> Any:
        paths = [Path(path) for path in paths]
        try:
            ours = yaml_folder()
        except UserError:
            return build(paths, **options)
        if own in paths and ours not in [path.resolve() for path in paths]:
            paths.insert(paths.index(own) + 1, ours)
        return build(paths, **options)

    index.TaskIndex.build = staticmethod(with_ours)


def add_our_model(models: ModuleType) -> None:
    """Let ``--model xscale`` be an encoder checkpoint; nothing of it is loaded before somebody asks for it."""
    registry = getattr(sys.modules.get("lm_eval.api.registry"), "model_registry", None)
    if registry is not None and "xscale" not in registry:
        registry.register("xscale", target=MODEL_TYPE)
    _say_in_one_line()


def _say_in_one_line() -> None:
    """In lm_eval's own program, an error that is meant for a person ends in one line, without the way that it came."""
    from pathlib import Path

    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    is_lm_eval = program.stem in ("lm_eval", "lm-eval") or (
        program.stem == "__main__" and program.parent.name == "lm_eval"
    )
    if not is_lm_eval or "DEBUG" in sys.argv:
        return
    before = sys.excepthook

    def hook(kind: Any, error: Any, trace: Any) -> None:
        from harness_tasks.errors import UserError

        if isinstance(error, UserError):
            sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        else:
            before(kind, error, trace)

    sys.excepthook = hook


_todo = {INDEX: _add_our_folder, MODELS: add_our_model}
for _name in [name for name in _todo if name in sys.modules]:
    _todo.pop(_name)(sys.modules[_name])
if _todo:
    sys.meta_path.insert(0, _Finder(_todo))
