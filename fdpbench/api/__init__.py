"""What `import fdpbench as fb` offers from Python: a dozen names, each a thin wrapper of what the commands use.

Nothing is imported before it is used. The first use of a name pins the arithmetic (`fdpbench.arithmetic`), so that
results are those of the commands, to the bit. Where numpy is imported already, as in most notebooks, that is too late:
a warning says so once, and results are labelled ``native``.

The examples run in a project whose task `synthetic` is made (``dvc repro task@synthetic``).
"""

from fdpbench.api.images import (
    RenderedClip,
    align_face,
    dynamic_image,
    optical_flow,
    rank_pooling_weights,
    rendered_clip,
)
from fdpbench.api.prediction import predict
from fdpbench.api.tasks import Evaluation, create_model, evaluate, list_models, load_task

__all__ = [
    "Evaluation",
    "RenderedClip",
    "align_face",
    "create_model",
    "dynamic_image",
    "evaluate",
    "list_models",
    "load_task",
    "optical_flow",
    "predict",
    "rank_pooling_weights",
    "rendered_clip",
]
