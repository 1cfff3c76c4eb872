"""Draws the dashboard's graphs from a running Prometheus, and reads numbers from a plugin.

picture.py draw DASHBOARD PROMETHEUS BEGIN END PHASES PICTURE   charts of all graphs, times in Unix seconds;
                                         PHASES has a line TIME WHAT for each part of the run
picture.py text METRICS FILE                             waits for the metrics and saves them
picture.py ports COUNT                                   so many ports that nobody listens on
"""

import json
import math
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# What Grafana would put in place of its variables.
VARIABLES = {"$__rate_interval": "5s", "$instance": ".*"}

# Grafana's names of units, what they are called here, and what a value is multiplied by.
UNITS = {
    "reqps": ("1/s", 1),
    "s": ("ms", 1000),
    "percentunit": ("%", 100),
    "bytes": ("MiB", 1 / 2**20),
}

# What is refused, or fails, is never drawn in green.
COLORS = {"allowed": "#2f81f7", "deferred": "#8b949e", "denied": "#d2722a", "unavailable": "#b62324", "403": "#d2722a"}

# The others, in turn.
CYCLE = ["#2f81f7", "#a05cc9", "#8b949e", "#17a2b8", "#bc8f00", "#e377c2"]

STEP_SECONDS = 1

# Far longer than any program here takes to come up.
PATIENCE_SECONDS = 60


def fetch(url):
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        return answer.read().decode()


def text(url, path):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            metrics = fetch(url)
            break
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(metrics)


def ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    print(*(one.getsockname()[1] for one in sockets))


def series(prometheus, expression, begin, end):
    """Label sets and their points, as Prometheus answers a graph's query."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode(
        {"query": expression, "start": begin, "end": end, "step": STEP_SECONDS}
    )
    answer = json.loads(fetch(f"{prometheus}/api/v1/query_range?{query}"))
    if answer["status"] != "success":
        raise SystemExit(f"{expression}: {answer}")
    for found in answer["data"]["result"]:
        yield found["metric"], [(float(at), float(value)) for at, value in found["values"]]


def legend(template, labels):
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def color(name, nth):
    return COLORS.get(name.split(": ")[-1], CYCLE[nth % len(CYCLE)])


def pieces(times, stack):
    """Where anything was measured, without a break: times, and values of which those that are missing are 0."""
    known = [any(not math.isnan(values[nth]) for values in stack) for nth in range(len(times))]
    begin = None
    for nth, is_known in enumerate(known + [False]):
        if is_known and begin is None:
            begin = nth
        elif not is_known and begin is not None:
            span = slice(begin, nth)
            yield times[span], [[0.0 if math.isnan(v) else v for v in values[span]] for values in stack]
            begin = None


def draw_panel(axes, panel, prometheus, begin, end, phases):
    lines = 0
    names, stack = [], []
    times = [begin + at for at in range(0, int(end - begin) + 1, STEP_SECONDS)]
    custom = panel["fieldConfig"]["defaults"]["custom"]
    unit, scale = UNITS.get(panel["fieldConfig"]["defaults"]["unit"], ("", 1))
    stacked = custom["stacking"]["mode"] == "normal"
    for target in panel["targets"]:
        for labels, points in series(prometheus, target["expr"], begin, end):
            name = legend(target["legendFormat"], labels)
            lines += 1
            known = {
                round(at - begin): value * scale for at, value in points if math.isfinite(value)
            }
            values = [known.get(round(at - begin), math.nan) for at in times]
            if stacked:
                names.append(name)
                stack.append(values)
            else:
                line = {"label": name, "linewidth": 1, "color": color(name, lines - 1)}
                axes.plot([at - begin for at in times], values, **line)
    colors = [color(name, nth) for nth, name in enumerate(names)]
    for nth, (span, values) in enumerate(pieces([at - begin for at in times], stack)):
        labels = names if nth == 0 else []
        axes.stackplot(span, *values, labels=labels, colors=colors, alpha=0.7)
    for at, what in phases:
        axes.axvline(at - begin, color="#8b949e", linestyle="--", linewidth=0.7)
        axes.text(at - begin, 0, f" {what}", fontsize=5, rotation=90, va="bottom", color="#57606a")
    if lines == 0:
        raise SystemExit(f"nothing to draw for {panel['title']!r}")
    axes.set_title(panel["title"], fontsize=9, loc="left")
    axes.set_ylabel(unit, fontsize=7)
    axes.set_xlim(0, end - begin)
    if "scaleDistribution" in custom:
        axes.set_yscale("symlog", linthresh=1)
    # The legend stands above what is drawn.
    room = 30 if "scaleDistribution" in custom else 1.35
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * room)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6, ncols=2, loc="upper left", framealpha=0.6)


def draw(dashboard, prometheus, begin, end, phases, picture):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with open(dashboard, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    with open(phases, encoding="utf-8") as file:
        marks = [(float(at), what) for at, what in (line.strip().split(" ", 1) for line in file)]
    # The run begins with its first part: before that the broker was being built and started.
    begin = min([at for at, _ in marks], default=begin)
    # The broker of the picture is alone.
    panels = [panel for panel in panels if not panel["title"].startswith("Fleet: ")]
    graphs = [panel for panel in panels if panel["type"] == "timeseries"]
    for panel in panels:
        if panel["type"] != "timeseries":
            for target in panel["targets"]:
                if not list(series(prometheus, target["expr"], begin, end)):
                    raise SystemExit(f"nothing to show for {panel['title']!r}")
    rows = math.ceil(len(graphs) / 3)
    figure, grid = pyplot.subplots(rows, 3, figsize=(15, 2.7 * rows), layout="constrained")
    for axes in grid.flat[len(graphs) :]:
        axes.set_visible(False)
    for panel, axes in zip(graphs, grid.flat):
        draw_panel(axes, panel, prometheus, begin, end, marks)
    figure.supxlabel("seconds", fontsize=8)
    figure.savefig(picture, dpi=100)


def main(arguments):
    match arguments:
        case ["draw", dashboard, prometheus, begin, end, phases, picture]:
            draw(dashboard, prometheus, float(begin), float(end), phases, picture)
        case ["text", url, path]:
            text(url, path)
        case ["ports", count]:
            ports(int(count))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
