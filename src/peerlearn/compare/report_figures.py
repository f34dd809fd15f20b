"""Which figures a study has, in groups, each with a line that says what to see in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peerlearn.compare.figure_agreement import draw_agreement, pair_means
from peerlearn.compare.figure_cost import draw_cost
from peerlearn.compare.figure_curves import common_floor, curve, draw_curves
from peerlearn.compare.figure_forest import draw_forest
from peerlearn.compare.figure_graph import EdgeKind, draw_graph, edge_kinds
from peerlearn.compare.figure_noise import Probe, draw_noise_curves
from peerlearn.compare.figure_pairs import Pairs, draw_pairs
from peerlearn.compare.figure_reliability import (
    draw_reliability,
    overconfidence,
    reliability_rows,
)
from peerlearn.compare.figures import ARM_COLOURS, ARM_DASHES, ARM_MARKERS, as_svg
from peerlearn.compare.report_folders import Study, is_value
from peerlearn.compare.report_sizes import size_table
from peerlearn.compare.report_tables import Table, duration, members, sorted_metrics
from peerlearn.compare.report_weights import weight_table
from peerlearn.compare.report_words import (
    NO_BREAK,
    amount,
    choose_metric,
    interval,
    joined,
    measured_rows,
    metric_label,
    number,
    verdict,
    who_label,
)
from peerlearn.compare.statistics import direction, is_of_class

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = dict[str, Any]

ORACLE = "oracle_cluster_accuracy"
_BESIDE = (ORACLE, "clusters", "largest_cluster")
_MOST_ROWS = 14  # of one forest plot; more, and single peers stay in the table


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: the same through the whole page."""

    index: int

    @property
    def drawn(self) -> tuple[str, str, Any]:
        """Colour, marker and line style for matplotlib."""
        return ARM_COLOURS[self.index], ARM_MARKERS[self.index], ARM_DASHES[self.index]

    @property
    def dashes(self) -> str:
        """The line style as SVG's `stroke-dasharray`."""
        style = ARM_DASHES[self.index]
        return "none" if style == "solid" else " ".join(f"{1.6 * d:g}" for d in style[1])


@dataclass(frozen=True)
class Chart:
    """One figure of the page."""

    title: str
    svg: str
    caption: str
    edges: tuple[tuple[EdgeKind, str], ...] = ()  # of a transfer graph, with their reach in words
    colour: int = 0


@dataclass(frozen=True)
class Group:
    """Figures that answer one question, and numbers that do."""

    name: str
    title: str
    lead: str
    charts: tuple[Chart, ...] = ()
    legend: bool = True  # whether arms are told apart by colour in it
    table: Table | None = None
    table_lead: str = ""


def looks(studies: Sequence[Study]) -> dict[str, Look]:
    """A look for every arm name of the page; `independent` is the grey baseline."""
    arms = dict.fromkeys(arm for study in studies for arm in study.arms)
    coloured = [arm for arm in arms if arm != "independent"]
    turn = len(ARM_COLOURS) - 1
    found = {arm: Look(1 + index % turn) for index, arm in enumerate(coloured)}
    return found | {arm: Look(0) for arm in arms if arm == "independent"}


class Draughtsman:
    """Draws the groups of one study. `key` starts every id, so it must be unique in the page."""

    def __init__(self, study: Study, styles: Mapping[str, Look], key: str) -> None:
        self.study = study
        self.styles = styles
        self.drawn = {arm: look.drawn for arm, look in styles.items()}
        self.key = key
        self._count = 0

    def groups(self) -> dict[str, Group]:
        """Every group that has a figure or a table, by name."""
        makers: tuple[Callable[[], Group], ...] = (
            self.transfer,
            self.forest,
            self.curves,
            self.pairs,
            self.reliability,
            self.agreement,
            self.weights,
            self.flatness,
            self.noise,
            self.cost,
        )
        made = [maker() for maker in makers]
        return {group.name: group for group in made if group.charts or group.table}

    def transfer(self) -> Group:
        """The transfer graph of every arm that has edges; arms with equal edges share one."""
        shared: dict[str, list[str]] = {}
        for name, arm in self.study.arms.items():
            if arm["edges"]:
                shared.setdefault(repr((arm["edges"], list(arm["peers"]))), []).append(name)
        charts = []
        for arms in shared.values():
            arm = self.study.arms[arms[0]]
            peers = list(arm["peers"])
            kinds = edge_kinds(arm["edges"])
            title = joined(arms)
            caption = (
                f"An arrow runs from teacher to learner: {_count(len(arm['edges']), 'edge')} "
                f"between {_count(len(peers), 'peer')}."
            )
            svg = self._svg(
                draw_graph(peers, arm["edges"], self.drawn[arms[0]][0]),
                f"Transfer graph of {title}. {caption} "
                + " ".join(f"{', '.join(kind.words)}: {kind.reach(peers)}." for kind in kinds),
            )
            edges = tuple((kind, kind.reach(peers)) for kind in kinds)
            charts.append(Chart(title, svg, caption, edges, self.styles[arms[0]].index))
        alone = [name for name, arm in self.study.arms.items() if not arm["edges"]]
        lead = f"No transfer in {joined(alone)}: the peers train alone." if alone else ""
        return Group("transfer", "Who teaches whom", lead, tuple(charts), legend=False)

    def forest(self) -> Group:
        """A forest plot for every metric that was compared.

        Those of single classes, and what only describes, stay in the tables.
        """
        order = {who: place for place, who in enumerate(members(self.study))}
        by_metric: dict[str, list[Json]] = {}
        for entry in sorted(self.study.differences, key=lambda e: order.get(e["who"], len(order))):
            if not is_of_class(entry["metric"]) and entry["metric"] not in _BESIDE:
                by_metric.setdefault(entry["metric"], []).append(entry)
        crowded = any(len(entries) > _MOST_ROWS for entries in by_metric.values())
        charts = []
        for metric in sorted_metrics(list(by_metric)):
            entries = by_metric[metric]
            if crowded:
                entries = [e for e in entries if e["who"] in ("mean_peer", "ensemble")] or entries
            sign = direction(metric)
            side = {1: "right of zero is better", -1: "left of zero is better"}.get(sign, "")
            shown = sum(verdict(entry) is not None for entry in entries)
            with_interval = sum(interval(entry) is not None for entry in entries)
            if not with_interval:
                seen = "one seed, so no interval"
            else:
                seen = f"{shown} of {len(entries)} shown to differ" if sign else ""
            caption = _sentence("; ".join(part for part in (side, seen) if part))
            title = _sentence(metric_label(metric), "")
            svg = self._svg(
                draw_forest(entries, self.drawn),
                f"Forest plot of differences in {title}. {caption}",
            )
            charts.append(Chart(title, svg, caption))
        pairs = dict.fromkeys((e["arm"], e["against"]) for e in self.study.differences)
        lead = "".join(f"{arm} minus {against}: " for arm, against in pairs if len(pairs) == 1)
        if any(interval(entry) for entry in self.study.differences):
            lead += (
                "each mark is the mean difference over seeds, each bar its 95 % interval. "
                "Filled: the interval excludes zero. Hollow: not shown to differ."
            )
        else:
            lead += "each mark is a difference without an interval, so it may be chance."
        if crowded:
            lead += " Single peers are in the table."
        lead = lead if len(pairs) == 1 else _sentence(lead, "")
        return Group("forest", "Differences", lead, tuple(charts), legend=False)

    def curves(self) -> Group:
        """Learning curves of every peer and of the ensemble."""
        runs = self.study.epochs
        available = dict.fromkeys(
            metric
            for seeds in runs.values()
            for events in seeds.values()
            for event in events
            for metrics in _mappings(event.get("val"))
            for metric in metrics
        )
        metric = choose_metric(available)
        names = [*self.study.peers, "ensemble"]
        floor = common_floor(runs, names, metric) if metric else None
        charts = []
        for name in names:
            figure = draw_curves(runs, name, metric, self.drawn, floor)
            if figure is None:
                continue
            title = name if name == "ensemble" else who_label(name)
            caption = self._last_values(name, metric)
            svg = self._svg(figure, f"Learning curves of {title}. {caption}")
            charts.append(Chart(_sentence(title, ""), svg, caption))
        above = "the validation metric"
        if metric == "cluster_accuracy":
            above = "clusters of unlabelled rows against their truth, by which nothing is chosen"
        lead = f"Above, {above}; below, the training loss: what the data asks (solid) "
        lead += "and what the other peers ask (dotted)."
        if any(len(seeds) > 1 for seeds in runs.values()):
            lead += " Lines are means over seeds, bands one standard deviation."
        return Group("curves", "Learning curves", lead, tuple(charts))

    def _last_values(self, name: str, metric: str | None) -> str:
        ends = []
        for arm, seeds in self.study.epochs.items():
            line = curve(seeds, "val", name, metric) if metric else None
            if line:
                ends.append(f"{arm} {amount(line.last, str(metric))}")
        if not ends:
            return "Training loss by epoch."
        oracle = [
            f"{arm} {amount(value['mean'], ORACLE)}"
            for arm, block in self.study.arms.items()
            if is_value(value := block["peers"].get(name, {}).get(ORACLE))
        ]
        beside = f" {_sentence(metric_label(ORACLE), '')}: {', '.join(oracle)}." if oracle else ""
        return f"Last epoch: {', '.join(ends)}.{beside}"

    def pairs(self) -> Group:
        """How right pseudo-labels of pairs are: one figure of all peers, or one a peer."""
        found = {
            (arm, peer): (_spread(metrics["pair_recall"]), _spread(metrics["pair_precision"]))
            for arm, block in self.study.arms.items()
            for peer, metrics in block["peers"].items()
            if is_value(metrics.get("pair_recall")) and is_value(metrics.get("pair_precision"))
        }
        widest = max((sum(recall) for recall, _ in found.values()), default=0.0) or 1.0
        several = len(self.study.arms) > 1
        charts = []
        for name in self.study.peers if several else [""]:
            here = {key: values for key, values in found.items() if key[1] == name or not several}
            if not here:
                continue
            title = who_label(name) if several else joined(p for _, p in here)
            told = [
                f"{arm if several else peer} {amount(precision[0], 'pair_precision')} and "
                f"{amount(recall[0], 'pair_recall')}"
                for (arm, peer), (recall, precision) in here.items()
            ]
            caption = f"Precision and recall: {'; '.join(told)}."
            drawn = draw_pairs(
                [
                    Pairs(recall, precision, self.drawn[arm], "" if several else peer)
                    for (arm, peer), (recall, precision) in here.items()
                ],
                widest,
            )
            svg = self._svg(drawn, f"Pseudo-labels of pairs, {title}. {caption}")
            charts.append(Chart(_sentence(title, ""), svg, caption))
        lead = (
            "Two unlabelled rows are taken to be of one class, or not: how often that is right "
            "(precision), and how many of the pairs of one class are found (recall)."
        )
        if any(len(seeds) > 1 for seeds in self.study.epochs.values()):
            lead += " Bars: one standard deviation over seeds."
        return Group("pairs", "Pseudo-labels of pairs", lead, tuple(charts))

    def reliability(self) -> Group:
        """A reliability diagram for every peer and the ensemble, all arms in each."""
        charts = []
        for name in [*self.study.peers, "ensemble"]:
            bins = {
                arm: block["reliability"][name]
                for arm, block in self.study.arms.items()
                if isinstance(block["reliability"].get(name), dict)
                and reliability_rows(block["reliability"][name])
            }
            if not bins:
                continue
            title = name if name == "ensemble" else who_label(name)
            gaps = [
                f"{arm} {number(overconfidence(table), 'accuracy', signed=True)}"
                for arm, table in bins.items()
            ]
            caption = f"Confidence minus accuracy, in points: {', '.join(gaps)}."
            svg = self._svg(
                draw_reliability(bins, self.drawn), f"Reliability diagram of {title}. {caption}"
            )
            charts.append(Chart(_sentence(title, ""), svg, caption))
        lead = (
            "How often a prediction is right, by how sure it is. On the dotted diagonal confidence "
            "is honest; below it the peer is over-confident. Larger marks hold more rows."
        )
        return Group("reliability", "Calibration", lead, tuple(charts))

    def agreement(self) -> Group:
        """A heat map of every arm with more than one peer."""
        tables = {}
        for name, arm in self.study.arms.items():
            between = arm["between_peers"]
            agreement = pair_means(between.get("agreement") or {})
            if agreement:
                tables[name] = agreement, pair_means(between.get("error_correlation") or {})
        values = [value for agreement, _ in tables.values() for value in agreement.values()]
        scale = (min(values) - 0.01, max(values) + 0.01) if values else (0.0, 1.0)
        charts = []
        for name, (agreement, errors) in tables.items():
            peers = [
                peer for peer in self.study.arms[name]["peers"] if any(peer in p for p in agreement)
            ]
            mean = sum(agreement.values()) / len(agreement)
            caption = f"Two peers give the same answer on {amount(mean, 'agreement')} of "
            caption += measured_rows(self.study.recipe)
            if errors:
                caption += f"; their errors correlate at {sum(errors.values()) / len(errors):.2f}"
            caption += " (means over pairs)." if len(agreement) > 1 else "."
            svg = self._svg(
                draw_agreement(peers, agreement, errors, scale, self.drawn[name][0]),
                f"Agreement between the peers of {name}. {caption}",
            )
            charts.append(Chart(name, svg, caption))
        lead = "Peers that teach each other grow alike; the less their errors correlate, the more "
        lead += "an ensemble of them can gain."
        return Group("agreement", "Agreement between peers", lead, tuple(charts), legend=False)

    def weights(self) -> Group:
        """The weights of classes that edges learned."""
        lead = (
            "How much each peer's logit of a class counts in what it tells the others and is told, "
            "at the end of training. With weights that start at 1, classes above 1 count for more."
        )
        table = weight_table(self.study)
        return Group("weights", "Learned class weights", lead, legend=False, table=table)

    def flatness(self) -> Group:
        """Loss over weight noise for every peer that was probed."""
        lead = (
            "Training loss as Gaussian noise is added to the weights: the later a line rises, "
            "the flatter the minimum. Bands: one standard deviation over noise draws."
        )
        charts = self._noise_charts(
            "flatness", "Flatness of", "loss", "nll", "σ of the weight noise, relative"
        )
        return Group("flatness", "Flatness", lead, charts)

    def noise(self) -> Group:
        """Accuracy over input noise for every peer and the ensemble, where it was measured."""
        lead = (
            "Test accuracy as Gaussian noise is added to what the peers read, in units of the "
            "standard deviation of the data. Bands: one standard deviation over noise draws."
        )
        charts = self._noise_charts(
            "noise", "Robustness of", "accuracy", "accuracy", "σ of the input noise, relative"
        )
        return Group("noise", "Accuracy under noise", lead, charts)

    def _noise_charts(
        self, key: str, title: str, quantity: str, metric: str, noise: str
    ) -> tuple[Chart, ...]:
        probes: dict[str, dict[str, Probe]] = {}
        for arm, block in self.study.arms.items():
            table = block.get(key) or {}
            sigma = table.get("sigma") or []
            for peer, probe in (table.get("peers") or {}).items():
                mean = probe.get("mean") or []
                std = probe.get("std") or [0.0] * len(mean)
                if sigma and len(mean) == len(std) == len(sigma):
                    probes.setdefault(peer, {})[arm] = sigma, mean, std
        charts = []
        for peer, arms in probes.items():
            ends = [f"{arm} {amount(mean[-1], metric)}" for arm, (_, mean, _) in arms.items()]
            widest = max(sigma[-1] for sigma, _, _ in arms.values())
            caption = f"At σ = {widest:g} the {quantity} is {', '.join(ends)}."
            drawn = draw_noise_curves(arms, self.drawn, noise, quantity)
            svg = self._svg(drawn, f"{title} {who_label(peer)}. {caption}")
            charts.append(Chart(_sentence(who_label(peer), ""), svg, caption))
        return tuple(charts)

    def cost(self) -> Group:
        """Training time, forwards per step and memory, and the sizes of single peers."""
        names = dict.fromkeys(name for arm in self.study.arms.values() for name in arm["cost"])
        charts = []
        for name in names:
            values = {
                arm: (block["cost"][name]["mean"], block["cost"][name].get("std") or 0.0)
                for arm, block in self.study.arms.items()
                if is_value(block["cost"].get(name))
            }
            if not values:
                continue
            unit = {"train_s": "seconds", "peak_rss_mb": "MB"}.get(name, metric_label(name))
            labels = {arm: _cost_label(name, mean) for arm, (mean, _) in values.items()}
            title = _sentence(metric_label(name), "")
            caption = _cost_caption(name, labels)
            svg = self._svg(draw_cost(values, labels, unit, self.drawn), f"{title}. {caption}")
            charts.append(Chart(title, svg, caption))
        sizes = size_table(self.study)
        lead = "Using one peer; in percent of the largest."
        return Group("cost", "Cost", "", tuple(charts), False, sizes, lead if sizes else "")

    def _svg(self, figure: "Figure", label: str) -> str:
        self._count += 1
        return as_svg(figure, f"{self.key}-f{self._count}", label)


def _cost_label(name: str, mean: float) -> str:
    if name == "train_s":
        return duration(mean)
    return f"{mean:.0f}{NO_BREAK}MB" if name == "peak_rss_mb" else f"{mean:.3g}"


def _cost_caption(name: str, labels: Mapping[str, str]) -> str:
    what = {
        "train_s": "Wall-clock time of training one seed",
        "forwards_per_step": "Training forwards in one step, all peers together",
        "peak_rss_mb": "Largest resident memory of the process",
    }.get(name, _sentence(metric_label(name), ""))
    return f"{what}: {', '.join(f'{arm} {label}' for arm, label in labels.items())}."


def _spread(value: Json) -> tuple[float, float]:
    return float(value["mean"]), float(value.get("std") or 0.0)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _sentence(text: str, end: str = ".") -> str:
    return text[:1].upper() + text[1:] + (end if text else "")


def _mappings(value: Any) -> list[Json]:
    return [v for v in value.values() if isinstance(v, dict)] if isinstance(value, dict) else []
