"""The visible checks of the assignments, a module each: `from ranet_edu.course.checks import a1`. Shared: `common`."""
