"""The plan's front half: a pipeline YAML read, checked and resolved.

``grammar.load_pipeline`` reads a pipeline, ``resources.load_resources`` the resource
YAML beside it. Both collect every mistake before they raise, and raise one
``problems.PlanProblems`` with a line for each, sorted by place.
"""
