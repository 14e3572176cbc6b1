"""The student's stack: K students as one program."""
