"""From raw releases to aligned clips, dynamic images and optical flow. Imports no other package of the project."""
