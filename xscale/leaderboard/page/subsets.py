"""OOD against ID, and the subsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness_tasks.targets import targets
from xscale.leaderboard import plots, scaling
from xscale.leaderboard.bootstrap import Estimate
from xscale.leaderboard.page.curves import curve_plot, whole
from xscale.leaderboard.page.parts import Part, Plot, figure, legend
from xscale.leaderboard.panels import Panel
from xscale.leaderboard.render import percent, subset_name, visible
from xscale.leaderboard.robustness import Robustness, effective_robustness
from xscale.manifest import Entry


def robustness_part(part: Part, drawn: list[Plot]) -> dict[str, Any] | None:
    """OOD against ID with effective robustness; None where the panel lacks one of them."""
    panel, bootstrap = part.panel, part.bootstrap
    if not {"id", "ood"} <= set(panel.masks):
        return None
    line = effective_robustness(bootstrap)
    assert line is not None  # both subsets are there
    id_values, ood_values = bootstrap("id")[0].tolist(), bootstrap("ood")[0].tolist()
    kinds = [_kind(entry) for entry in panel.entries]
    several = len({entry.base for entry in panel.entries}) > 1
    groups = [
        f"{entry.base or 'other model'}, {kind}" if several else kind
        for entry, kind in zip(panel.entries, kinds, strict=True)
    ]
    words = "; ".join(
        f"{name}: ID {percent(x)}%, OOD {percent(y)}%"
        for name, x, y in list(zip(panel.ids, id_values, ood_values, strict=True))[:40]
    )
    plot = Plot(
        f"{part.dom}-ood-against-id",
        f"{part.title}: OOD against ID",
        f"{_line_words(line)} {words}",
        plots.robustness_figure(
            panel.ids,
            groups,
            id_values,
            ood_values,
            line,
            min(int(panel.masks[n].sum()) for n in ("id", "ood")),
            [entry.size for entry in panel.entries],
            panel.measure,
            part.name,
        ),
        [
            {
                "checkpoint": entry.id,
                "group": group,
                "size": entry.size,
                "seed": entry.seed,
                "id": 100 * x,
                "ood": 100 * y,
                "above_line": 100 * line.residuals[entry.id].value if entry.id in line.residuals else None,
            }
            for entry, group, x, y in zip(panel.entries, groups, id_values, ood_values, strict=True)
        ],
    )
    position = {name: index for index, name in enumerate(panel.ids)}
    return {
        "title": part.title,
        "figure": figure(plot, drawn),
        "lines": [_line_words(line)],
        "rows": [
            {
                "id": name,
                "id_acc": id_values[position[name]],
                "ood_acc": ood_values[position[name]],
                "residual": item,
            }
            for name, item in line.residuals.items()
        ],
    }


def _kind(entry: Entry) -> str:
    """What a checkpoint's mark stands for."""
    if entry.size == 0:
        return "baseline"
    return entry.arm or "+".join(entry.intermediate) or "other model"


def _line_words(line: Robustness) -> str:
    if line.refused or line.slope is None or line.intercept is None:
        return f"No line: {line.refused}."
    slope = f"{line.slope.value:.2f} [{line.slope.low:.2f}, {line.slope.high:.2f}]"
    intercept = f"{line.intercept.value:.2f} [{line.intercept.low:.2f}, {line.intercept.high:.2f}]"
    who = (
        "no independent line (baselines and entries with makes_line are too few or too alike): each checkpoint is "
        "measured from the line through the others, without the seeds of its own size (leave one out)"
        if line.leave_one_out
        else f"line through {len(line.makers)} baselines and entries with makes_line, which it does not judge"
    )
    return f"logit(OOD) = {intercept} + {slope} · logit(ID); {who}."


def subsets_part(part: Part, curves: Sequence[scaling.Curve], drawn: list[Plot]) -> dict[str, Any] | None:
    panel, bootstrap = part.panel, part.bootstrap
    names = [name for name in panel.masks if name not in ("all", "id", "ood")]
    if not names:
        return None
    items = []
    for name in names:
        over_all = whole(curves, name)
        bounds, values = bootstrap.bounds(name), bootstrap(name)[0]
        items.append(
            {
                "name": name,
                "title": visible(subset_name(name)),
                "about": f"{about(panel, name)}{panel.row_count(name):,} rows; always answering the "
                f"commonest label gives {percent(panel.commonest_label(name))}%.",
                "figure": figure(curve_plot(part, over_all, None), drawn) if over_all else None,
                "rows": [
                    (identity, Estimate(float(value), float(low), float(high)))
                    for identity, value, (low, high) in zip(panel.ids, values, bounds, strict=True)
                ],
            }
        )
    return {
        "title": part.title,
        "dom": part.dom,
        "subsets": items,
        "legend": legend([plots.ladder_name(curve) for curve in whole(curves, "all")]),
    }


def about(panel: Panel, name: str) -> str:
    """The subset's rule, where it ships with the tasks; the bundled suite has rules of its own."""
    known = targets()
    subsets = known[panel.target].subsets if panel.target in known else ()
    found = next((item for item in subsets if item.name == name), None)
    return f"{found.rule} " if found and not panel.bundled else ""
