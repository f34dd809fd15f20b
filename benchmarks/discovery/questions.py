"""What comparisons of category discovery were made to ask."""

from benchmarks.questions import Questions

DISCOVERY = Questions(
    {"mean_peer": "mean branch"},
    (
        ("dual", "kmeans", "the whole system, against clusters of the same features"),
        ("dual", "ranking", "two branches that teach each other, against one"),
        ("dual", "independent", "mutual distillation"),
        ("one-way", "independent", "distillation to the global branch alone"),
        ("independent", "ranking", "a second branch, of parts"),
        ("ranking", "kmeans", "ranking statistics, against clusters of the same features"),
        ("ranking", "own-views", "marking pairs, against no two images marked"),
        ("ranking-new", "ranking", "`unlabelled_are_new` in ranking statistics"),
        ("dual-new", "kmeans", "the whole system with `unlabelled_are_new`, against k-means"),
        ("dual-new", "dual", "`unlabelled_are_new` in the whole system"),
        ("dual-new", "ranking", "the whole system with it, against ranking statistics without"),
        ("dual-new", "ranking-new", "two branches that teach each other, against one, with it"),
        ("dual-new", "independent-new", "mutual distillation, with it"),
        ("ranking-new", "own-views-new", "marking pairs, against no two images marked, with it"),
        ("dual-predictions-new", "kmeans", "sharpened predictions in it too, against k-means"),
        ("dual-predictions-new", "ranking", "that, against ranking statistics as published"),
        ("dual-predictions-new", "ranking-new", "that, against ranking statistics on equal terms"),
        ("dual-predictions-new", "ranking-self-new", "that, against one branch and its own ones"),
        ("dual-predictions-new", "predictions-new", "similarities beside sharpened predictions"),
        ("predictions-new", "ranking-self-new", "those of another branch, against its own"),
        ("ranking-self-new", "ranking-new", "a branch's own sharpened predictions"),
        ("uno", "kmeans", "UNO, against clusters of the same features"),
        ("uno", "dual", "UNO, against the whole system"),
        ("uno", "dual-new", "UNO, against the whole system with `unlabelled_are_new`"),
        ("uno-mutual", "uno", "mutual distillation between heads of UNO"),
        ("uno-mutual", "kmeans", "that, against clusters of the same features"),
    ),
)
