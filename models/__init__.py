"""Models behind one registry: what each needs, and how to build one.

Importing this package imports no model and no torch. A model's file is imported when its name is used.
"""

from fdpbench.models.common.registry import create_model, list_models, model_info

__all__ = ["create_model", "list_models", "model_info"]
