"""params.yaml as typed sections.

In: YAML files. Out: frozen objects, or every problem at once. No stage of its own: all read their sections with it.
"""
