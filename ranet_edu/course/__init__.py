"""The course: building and grading its assignments, and the checks that name a student's mistake."""
