"""Tables of what was measured, in Markdown.

A ratio compares with Strongroom, so that above 1 it is the faster one, or the smaller. Figures are
those of the repetition that took the least time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OURS = "strongroom"
_MUCH = 64 << 20
"""Bytes; with fewer, requests a GiB would tell of a start and an end only."""
WORDS = {
    "help": "`--help`",
    "create": "create the repository",
    "full": "first full",
    "unchanged": "unchanged",
    "increment": "increment",
    "restore": "restore",
    "check": "check all data",
    "prune": "prune",
}

Reading = dict[str, Any]
Programs = dict[str, dict[str, Reading]]


def render(results: dict[str, Any]) -> str:
    lines = [
        f"# Measured {results['started']}",
        "",
        f"{results['machine']}; load {results['load'][0]:.2f} at the start.",
        "",
        *(f"- {name}: {version}" for name, version in results["versions"].items()),
        "",
        f"In brackets: how many times {OURS}'s figure; above 1, {OURS} is faster or smaller.",
        "",
    ]
    for name, found in results["corpora"].items():
        lines += _corpus(name, found)
    return "\n".join(lines)


def _corpus(name: str, found: dict[str, Any]) -> list[str]:
    size = found["size"]
    programs = {
        program: {work: _best(readings) for work, readings in works.items()}
        for program, works in found["programs"].items()
    }
    order = sorted(programs, key=lambda program: (not program.startswith(OURS), program))
    programs = {program: programs[program] for program in order}
    return [
        f"## {name}",
        "",
        f"{size['files']} files, {size['bytes'] / 2**30:.2f} GiB, "
        f"{size['allocated'] / 2**30:.2f} GiB allocated. {_disturbance(found)}",
        "",
        *_table("wall", programs, "wall", lambda value: f"{value:.2f} s"),
        *_table("CPU", programs, "cpu", lambda value: f"{value:.2f} s"),
        *_table("peak memory", programs, "memory", lambda value: f"{value / 2**20:.0f} MiB"),
        *_stored(programs),
        *_link(programs),
        *_traffic(programs),
        *_limits(found.get("limits")),
    ]


def _best(readings: list[Reading]) -> Reading:
    return min(readings, key=lambda reading: (reading["exit"] != 0, reading["wall"]))


def _disturbance(found: dict[str, Any]) -> str:
    readings = [
        reading
        for works in found["programs"].values()
        for repeated in works.values()
        for reading in repeated
    ]
    wall = sum(reading["wall"] for reading in readings)
    others = sum(reading["others_cpu"] for reading in readings)
    highest = max((reading["load"] for reading in readings), default=0.0)
    return (
        f"Meanwhile other processes took {others / max(wall, 0.001):.0%} of one core; "
        f"the load was at most {highest:.1f}."
    )


def _table(title: str, programs: Programs, figure: str, show: Callable[[float], str]) -> list[str]:
    rows = []
    for work, words in WORDS.items():
        readings = {program: works.get(work) for program, works in programs.items()}
        if any(readings.values()):
            rows.append((words, [_figure(reading, figure) for reading in readings.values()]))
    return _ratios(title, list(programs), rows, show)


def _figure(reading: Reading | None, figure: str) -> float | str | None:
    if reading is None:
        return None
    if reading["exit"]:
        return f"failed ({reading['exit']})"
    if not reading.get("same", True):
        return "wrong content"
    value: float = reading[figure]
    return value


def _stored(programs: Programs) -> list[str]:
    wanted = [
        ("after the first full", "full", "stored"),
        ("added by an unchanged run", "unchanged", "added"),
        ("added by the increment", "increment", "added"),
        ("after pruning", "prune", "stored"),
    ]
    rows = [
        (words, [_figure(works.get(work), figure) for works in programs.values()])
        for words, work, figure in wanted
    ]
    rows = [(words, values) for words, values in rows if any(v is not None for v in values)]
    return _ratios("stored", list(programs), rows, _bytes)


def _link(programs: Programs) -> list[str]:
    """Lay out how much longer each took than the link alone for the bytes that crossed it."""
    rows = [
        (words, [_over_link(works.get(work)) for works in programs.values()])
        for work, words in WORDS.items()
        if any("link" in works.get(work, {}) for works in programs.values())
    ]
    if not rows:
        return []
    head = f"| wall, and the link's own time | {' | '.join(programs)} |"
    body = [f"| {words} | {' | '.join(cells)} |" for words, cells in rows]
    return [head, "|---" * (len(programs) + 1) + "|", *body, ""]


def _over_link(reading: Reading | None) -> str:
    if reading is None or "link" not in reading:
        return "–"
    times = reading["wall"] / reading["link"]
    return f"{reading['wall']:.2f} s of {reading['link']:.2f} s ({times:.2f} ×)"


def _traffic(programs: Programs) -> list[str]:
    """Lay out the requests of each work by kind, and of how many bytes."""
    lines = []
    for work, words in WORDS.items():
        for program, works in programs.items():
            traffic = works.get(work, {}).get("traffic")
            if traffic is None:
                continue
            kinds = ", ".join(f"{count} {kind}" for kind, count in traffic["requests"].items())
            total = sum(traffic["requests"].values())
            sent, received = traffic["sent_bytes"], traffic["received_bytes"]
            most = max(sent, received)
            each_gib = f"{total * 2**30 / most:.0f}" if most > _MUCH else "–"
            lines.append(
                f"| {words} | {program} | {total} | {kinds} | {traffic['connections']} "
                f"| {_bytes(sent)} | {_bytes(received)} | {each_gib} |"
            )
    if not lines:
        return []
    head = "| | | requests | of these | connections | sent | received | requests a GiB |"
    return [head, "|---" * 8 + "|", *lines, ""]


def _ratios(
    title: str,
    programs: list[str],
    rows: list[tuple[str, list[float | str | None]]],
    show: Callable[[float], str],
) -> list[str]:
    """Lay out a table; where Strongroom is in it, each other's figure as a multiple of its own."""
    if not rows:
        return []
    others = [i for i, program in enumerate(programs) if not program.startswith(OURS)]
    compare = OURS in programs and bool(others)
    lines = [
        f"| {title} | {' | '.join(programs)} |" + (" best of the others |" if compare else ""),
        "|---" * (len(programs) + 1 + compare) + "|",
    ]
    for words, values in rows:
        ours = values[programs.index(OURS)] if compare else None
        cells = []
        for program, value in zip(programs, values, strict=True):
            if value is None:
                cells.append("–")
            elif isinstance(value, str):
                cells.append(value)
            else:
                cells.append(show(value) + ("" if program == OURS else _ratio(value, ours)))
        if compare:
            known = [v for i in others if isinstance(v := values[i], float | int)]
            cells.append(_ratio(min(known), ours).strip(" ()") or "–" if known else "–")
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return [*lines, ""]


def _bytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _ratio(value: float, ours: float | str | None) -> str:
    return f" ({value / ours:.2f} ×)" if isinstance(ours, float | int) and ours > 0 else ""


def _limits(limits: dict[str, Reading] | None) -> list[str]:
    if not limits:
        return []
    return [
        "| what the machine can do | wall | CPU |",
        "|---|---|---|",
        *(
            f"| {name} | failed ({r['exit']}) | – |"
            if r["exit"]
            else f"| {name} | {r['wall']:.2f} s | {r['cpu']:.2f} s |"
            for name, r in limits.items()
        ),
        "",
    ]
