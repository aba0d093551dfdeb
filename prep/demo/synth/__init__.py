"""The embedded release: synthetic faces with known micro-expressions, written like any other release."""

from fdpbench.prep.demo.synth.clip import ClipPlan
from fdpbench.prep.demo.synth.plan import EMOTIONS, plan_release
from fdpbench.prep.demo.synth.release import ClipRecord, write_clip, write_sheet

__all__ = ["EMOTIONS", "ClipPlan", "ClipRecord", "plan_release", "write_clip", "write_sheet"]
