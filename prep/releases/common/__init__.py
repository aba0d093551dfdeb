"""What readers share: annotations and listings, folders of frames, SMIC's cameras, the list of the composite."""
