"""Learning styles: one teacher, two students, and mixed forms of knowledge between them."""
