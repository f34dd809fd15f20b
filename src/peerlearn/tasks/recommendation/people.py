"""A page on which a person picks a user, and sees what is suggested, by whom, and what is known."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from torch import nn

from peerlearn.report.figures import require_report_extra
from peerlearn.tasks.recommendation.data.info import RecommendationInfo
from peerlearn.tasks.recommendation.models.propagation import SocialGraph
from peerlearn.tasks.recommendation.recommending import friends_of, heard_by, suggestions

HISTORY = 50
"""Items of a user's history that are shown."""


def people_page(
    peers: Mapping[str, nn.Module],
    graph: SocialGraph,
    info: RecommendationInfo,
    users: Sequence[int],
    n: int,
    served_alone: bool = False,
) -> str:
    """The page as one self-contained text: the ensemble, every peer, history and friends.

    Args as `suggestions`. Raises InputError: as there, or the `report` extra is not installed.
    """
    require_report_extra()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    lists: dict[int, dict[str, Any]] = {user: {} for user in users}
    asked = {"ensemble": peers} if len(peers) > 1 else {}
    for name, chosen in {**asked, **{name: {name: it} for name, it in peers.items()}}.items():
        for user, found in zip(
            users, suggestions(chosen, graph, users, n, served_alone), strict=True
        ):
            lists[user][name] = [[one.item, list(one.friends)] for one in found]
    heard, friends = heard_by(graph), friends_of(graph)
    shown = {item for u in users for item in heard[u][:HISTORY]}
    shown |= {item for each in lists.values() for found in each.values() for item, _ in found}
    data = {
        "items": {item: info.item_names[item] for item in sorted(shown)},
        "ids": {f: info.user_ids[f] for u in users for f in friends[u]},
        "users": [
            {
                "id": info.user_ids[u],
                "heard": heard[u][:HISTORY],
                "times": len(heard[u]),
                "friends": friends[u],
                "lists": lists[u],
            }
            for u in users
        ],
    }
    # A text inside a script ends at "</": no name may end it.
    text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    here = resources.files("peerlearn.tasks.recommendation")
    template = environment.from_string((here / "people.html.j2").read_text(encoding="utf-8"))
    css = (resources.files("peerlearn.compare") / "report.css").read_text(encoding="utf-8")
    lead = (
        f"{len(users):,} users of {info.name}. Suggestions leave out what a user listened to in "
        "training; those who know the user and listened to an item stand beside it."
    )
    return template.render(
        title=f"Who is suggested what on {info.name}", lead=lead, css=Markup(css), data=Markup(text)
    )
