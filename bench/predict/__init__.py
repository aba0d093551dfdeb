"""What networks say of clips of one's own: from a video or a folder of frames to probabilities.

In the order in which a clip goes through: ``sources`` opens files, ``networks`` loads weights and how their inputs are
made, ``spotting`` finds the moment in a long video, ``clip`` makes crops, flow and inputs of it, ``warnings`` says what
is unlike the training clips, ``result`` holds what is said, ``run`` goes through all of it, ``picture`` draws it.
"""
