"""`peerlearn recommend`: what a finished recommender suggests to its users."""

import csv
import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peerlearn.cli.options import RunArgument, TrustOption, check_out_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peerlearn.tasks.recommendation.data.info import RecommendationInfo
    from peerlearn.tasks.recommendation.recommending import Suggestion


def recommend(
    run: RunArgument,
    user: Annotated[
        list[str] | None,
        typer.Option(help="Id of a user; may be given again.", show_default="all users"),
    ] = None,
    n: Annotated[int, typer.Option(help="Items for each user.")] = 20,
    peer: Annotated[str, typer.Option(help="A peer's name, or ensemble.")] = "ensemble",
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Tell which peers and which friends speak for an item."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="csv or parquet file; .html: a page to pick users from.", show_default="stdout"
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="csv of user and item that came since: users and items in it may be new, and "
            "what it has is not suggested either.",
            show_default=False,
        ),
    ] = None,
    friends: Annotated[
        Path | None,
        typer.Option(help="csv of user and friend that came since.", show_default=False),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Suggest items to users of a run that recommends, those that it was trained on left out.

    Pairs held out for validation and test are not known to it: --pairs with all of them leaves them
    out too. Scores are in standard deviations of those of all items that a user does not know.
    """
    from peerlearn.cli.serve import opened
    from peerlearn.errors import InputError, harmless, unknown_name
    from peerlearn.files import write_text
    from peerlearn.tasks.recommendation.data.info import RecommendationInfo
    from peerlearn.tasks.recommendation.models.propagation import SocialGraph
    from peerlearn.tasks.recommendation.newcomers import read_since, with_newcomers
    from peerlearn.tasks.recommendation.people import people_page
    from peerlearn.tasks.recommendation.recommending import suggestions, user_numbers

    check_out_file(out)
    if out is not None and out.suffix not in (".csv", ".parquet", ".html"):
        raise InputError(f"--out {out}: allowed: a file .csv, .parquet or .html")
    if out is not None and out.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise InputError(f"--out {out}: parquet needs pyarrow: pip install pyarrow")
    trained = opened(run, trust)
    info = trained.info
    if not isinstance(info, RecommendationInfo):
        raise InputError(
            f"{run}: of recipe {trained.recipe.name!r}, which recommends nothing; allowed: runs of "
            "recipe music"
        )
    known = [*trained.peers, "ensemble"]
    if peer not in known:
        raise unknown_name("peer", peer, known, "--peer")
    names = trained.members if peer == "ensemble" else [peer]
    peers = {name: trained.cohort.peers[name] for name in names}
    graph: SocialGraph = next(iter(peers.values())).graph  # type: ignore[assignment]
    if pairs is not None or friends is not None:
        since = read_since(info, graph, pairs, friends)
        peers, info, graph = with_newcomers(peers, since), since.info, since.graph()
    users = user_numbers(user, info) if user else list(range(info.users))
    served = trained.config.together == "served"
    if out is not None and out.suffix == ".html":
        write_text(out, people_page(peers, graph, info, users, n, served))
        return
    found = suggestions(peers, graph, users, n, served)
    if out is not None and out.suffix == ".parquet":
        _write_parquet(out, found, info, explain)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(names, explain))
    for each in found:
        writer.writerows(_row(one, rank, info, explain) for rank, one in enumerate(each, 1))
    if out is None:
        print(harmless(text.getvalue()), end="")
    else:
        write_text(out, text.getvalue())


def _columns(names: list[str], explain: bool) -> list[str]:
    plain = ["user", "rank", "item", "name", "score"]
    return plain + ([*(f"by {name}" for name in names), "friends"] if explain else [])


def _row(one: "Suggestion", rank: int, info: "RecommendationInfo", explain: bool) -> list[str]:
    item = info.class_names[one.item], info.item_names[one.item]
    row = [info.user_ids[one.user], str(rank), *item, f"{one.score:.4f}"]
    if explain:
        row += [f"{z:.4f}" for z in one.by.values()]
        row.append(" ".join(info.user_ids[friend] for friend in one.friends))
    return row


def _write_parquet(
    out: Path, found: "Iterator[list[Suggestion]]", info: "RecommendationInfo", explain: bool
) -> None:
    """The same as columns, numbers as numbers."""
    import pyarrow
    import pyarrow.parquet

    from peerlearn.files import write_atomically

    rows = [(rank, one) for each in found for rank, one in enumerate(each, 1)]
    columns = {
        "user": [info.user_ids[one.user] for _, one in rows],
        "rank": [rank for rank, _ in rows],
        "item": [info.class_names[one.item] for _, one in rows],
        "name": [info.item_names[one.item] for _, one in rows],
        "score": [one.score for _, one in rows],
    }
    if explain:
        for name in rows[0][1].by if rows else ():
            columns[f"by {name}"] = [one.by[name] for _, one in rows]
        columns["friends"] = [" ".join(info.user_ids[f] for f in one.friends) for _, one in rows]
    table = pyarrow.table(columns)
    write_atomically(out, lambda path: pyarrow.parquet.write_table(table, path))
