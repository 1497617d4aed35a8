"""The contract of Cytoloom in code: regions, layers, tables, statistics, command lines, provenance.

Every executable in ``bin/`` leans on these modules; none of them knows a stage.
Import the modules, not names from here: an executable's cache key is made of the
modules that it imports.
"""

__version__ = "0.1.0"
