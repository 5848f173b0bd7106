"""Types of task properties: what a template may stand for, and how YAML scalars become text.

A property is checked twice with the same pydantic type: at load, where a template is taken as it
is, and at run, after rendering, where the value must fit (Kestra's `Property<T>`).
"""
# contract: see `Dynamic` below; filled in by flow/
