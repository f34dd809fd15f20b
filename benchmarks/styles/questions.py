"""What comparisons of learning styles were made to ask."""

from benchmarks.questions import Questions

STYLES = Questions(
    {"ensemble": "ensemble of the students", "mean_peer": "mean student"},
    (
        ("kdml-v4", "kdml-v1", "mixed forms, against predictions alone"),
        ("kdml-v2", "kdml-v1", "feature maps alone, against predictions alone"),
        ("kd-v3", "kd-v1", "a teacher that shows each student another form"),
        ("ml-v3", "ml-v1", "students that show each other another form"),
        ("kd-v1", "independent", "distillation"),
        ("ml-v1", "independent", "mutual learning"),
        ("kdml-v1", "independent", "distillation and mutual learning"),
        ("kdml-v4", "independent", "both, in mixed forms"),
    ),
)
