"""Fetching events over real connections, with this client and with others.

Each figure is the median of several rounds. In each round the clients take turns, each in its own
process, pinned to one core while the server has the other.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bodies import body_of
from benchmarks.clients import THROWN
from benchmarks.report import Section, chart, table
from benchmarks.server import running
from benchmarks.worker import measure

__all__ = ["bulk", "peers", "rivals", "stalls"]

Figures = dict[str, list[dict[str, float]]]

FLOOR, ORJSON = "aiohttp, bytes", "aiohttp + orjson, dicts"
TYPED, TOUCHED, STREAMED = "ours, typed", "ours, all read", "ours, streamed"
RIVALS = (FLOOR, ORJSON, "aiohttp + json + cattrs", "httpx + pydantic", TYPED, TOUCHED, STREAMED)
PEERS = ("openapi-python-client", "httpx + pydantic", TYPED)
REQUESTS = {10: 3000, 200: 600, 2_000: 80, 20_000: 8}
CONTRACT = Path(__file__).parent.parent / "tests" / "contract" / "fullstory-sessions-openapi.yaml"


def rounds(quick: bool) -> int:
    return 1 if quick else 5


def taking_turns(clients: Sequence[str], count: int, place: Path | None = None, **order: object) -> Figures:
    """Measure every client ``count`` times, in rotating order."""
    found: Figures = {client: [] for client in clients}
    for n in range(count):
        for client in (*clients[n % len(clients) :], *clients[: n % len(clients)]):
            found[client].append(measure(place, client=client, **order))
    return found


def ratio(found: Figures, one: str, other: str, figure: str = "cpu") -> float:
    """Return the median of the per-round ratios of two clients."""
    pairs = zip(found[one], found[other], strict=True)
    return statistics.median(a[figure] / b[figure] for a, b in pairs)


def median(found: Figures, client: str, figure: str) -> float:
    return statistics.median(each[figure] for each in found[client])


def rivals(quick: bool) -> Section:
    """Measure the CPU time of each client at each size, in the live form."""
    section = Section("Fetching events, live form, 8 connections")
    section.say(
        "`ours, typed` reads the type of every event; `all read` also decodes every `data` and "
        "`source_properties`; `streamed` uses `stream_events`. Each worker keeps a result until it has the "
        "next one, as a program that processes it would. `× floor` and `× orjson` compare CPU time within "
        "each round."
    )
    sizes = (10, 200) if quick else tuple(REQUESTS)
    limits = {(200, TYPED): 0.65, (2_000, TYPED): 0.3, (20_000, TYPED): 0.25}
    cpu: dict[str, dict[int, float]] = {client: {} for client in RIVALS}
    with running(sizes) as url:
        ceiling = measure(
            client="sockets alone", url=url + "/live", session="10", requests=5000, concurrency=64
        )
        section.say(
            f"The server's ceiling at 10 events: {ceiling['rate']:.0f} requests/s, "
            "with a client that parses nothing."
        )
        for size in sizes:
            requests = REQUESTS[size] // (5 if quick else 1)
            found = taking_turns(
                RIVALS, rounds(quick), url=url + "/live", session=str(size), requests=requests, concurrency=8
            )
            section.say(f"### {size} events\n\n" + rivals_table(found, size))
            for client in RIVALS:
                cpu[client][size] = median(found, client, "cpu")
            if (size, TYPED) in limits:
                limit = limits[size, TYPED]
                section.promise(
                    f"CPU, typed events, {size}, × orjson to dicts", ratio(found, TYPED, ORJSON), limit
                )
            if size > 10:
                limit = 1.1 if size == 200 else 1.3
                section.promise(
                    f"CPU, all read, {size}, × orjson to dicts", ratio(found, TOUCHED, ORJSON), limit
                )
            if size in (200, 20_000):
                thrown_away(section, url, size, quick)
    if not quick:
        chart(cpu)
    return section


def thrown_away(section: Section, url: str, size: int, quick: bool) -> None:
    """Measure the same where each result is thrown away at once: less memory, and less for the collector."""
    clients = tuple(each + THROWN for each in (ORJSON, TYPED, TOUCHED))
    requests = REQUESTS[size] // (5 if quick else 1)
    found = taking_turns(
        clients, rounds(quick), url=url + "/live", session=str(size), requests=requests, concurrency=8
    )
    of_dicts, of_typed, of_touched = clients
    if size == 20_000:
        section.promise(
            f"CPU, typed events, {size}, thrown away, × orjson", ratio(found, of_typed, of_dicts), 0.25
        )
    else:
        section.promise(
            f"CPU, all read, {size}, thrown away, × orjson", ratio(found, of_touched, of_dicts), 1.1
        )
    typed, touched = ratio(found, of_typed, of_dicts), ratio(found, of_touched, of_dicts)
    section.say(
        f"{size} events where each result is thrown away at once: to dicts "
        f"{median(found, of_dicts, 'cpu') * 1e3:.3f} ms; typed {typed:.2f} ×, all read {touched:.2f} ×."
    )


def rivals_table(found: Figures, size: int) -> str:
    head = (
        "client",
        "requests/s",
        "ms/request",
        "ms/MB",
        "ms/1 000 events",
        "memory, MB",
        "× floor",
        "× orjson",
    )
    rows, megabytes = [], len(body_of(size)) / 1e6
    for client in found:
        cpu = median(found, client, "cpu") * 1e3
        rows.append(
            (client, f"{median(found, client, 'rate'):.0f}", f"{cpu:.3f}", f"{cpu / megabytes:.2f}",
            f"{cpu / size * 1e3:.2f}", f"{median(found, client, 'memory') / 1e6:.0f}",
            f"{ratio(found, client, FLOOR):.2f}", f"{ratio(found, client, ORJSON):.2f}")
        )  # fmt: skip
    return table(head, rows)


def peers(quick: bool) -> Section:
    """Compare throughput with other typed clients, in the published form.

    That is the form for which those clients were made.
    """
    section = Section("Throughput against other clients, published form, 8 connections")
    sizes = (10,) if quick else (10, 200, 2_000)
    rows = []
    with running(sizes) as url, generated_client() as place:
        for size in sizes:
            requests = max(20, REQUESTS[size] // (5 if quick else 2))
            found = taking_turns(
                PEERS,
                rounds(quick),
                place,
                url=url + "/spec",
                session=str(size),
                requests=requests,
                concurrency=8,
            )
            limit = {10: 4, 200: 5, 2_000: 8}[size]
            for peer in PEERS[:2]:
                # by CPU time, which a busy neighbour changes least; each client has a core of its own
                times = ratio(found, peer, TYPED)
                rows.append(
                    (
                        peer,
                        size,
                        f"{median(found, peer, 'rate'):.0f}",
                        f"{median(found, TYPED, 'rate'):.0f}",
                        f"{times:.1f}",
                    )
                )
                section.promise(
                    f"requests per CPU second at {size} events, × {peer}", times, limit, at_least=True
                )
    section.say(table(("client", "events", "requests/s", "ours, requests/s", "ratio"), rows))
    return section


@contextlib.contextmanager
def generated_client() -> Iterator[Path]:
    """Generate a client of the published contract into a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "settings.yaml").write_text("post_hooks: []\n")
        command = [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", str(CONTRACT),
            "--meta", "none", "--config", str(place / "settings.yaml"),
            "--output-path", str(place / "generated_client"),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        yield place


def stalls(quick: bool) -> Section:
    """Measure how long decoding blocks the event loop.

    Also measure the time until a stream yields its first event.
    """
    section = Section("Stalls of the event loop, one response at a time")
    sizes = (2_000,) if quick else (2_000, 20_000)
    rows = []
    with running(sizes) as url:
        for size in sizes:
            found = taking_turns(
                (ORJSON, TYPED, STREAMED), rounds(quick), url=url + "/live", session=str(size),
                requests=max(3, 20_000 // size), concurrency=1, stall=True,
            )  # fmt: skip
            rows += [(client, size, f"{median(found, client, 'stall') * 1e3:.1f}") for client in found]
            limit = {2_000: 5, 20_000: 40}[size]
            section.promise(
                f"CPU of the longest step, {size} events",
                median(found, TYPED, "stall") * 1e3,
                limit,
                unit=" ms",
            )
            section.promise(
                f"CPU of the longest step, {size} events streamed",
                median(found, STREAMED, "stall") * 1e3,
                10,
                unit=" ms",
            )
        first = [
            measure(
                client="ours, first event",
                url=url + "/live",
                session=str(sizes[-1]),
                requests=5,
                concurrency=1,
            )
            for _ in range(rounds(quick))
        ]
        section.promise(
            "CPU until the first streamed event",
            statistics.median(each["cpu"] * 1e3 for each in first),
            10,
            unit=" ms",
        )
    section.say(table(("client", "events", "longest step, ms of CPU"), rows))
    return section


def bulk(quick: bool) -> Section:
    """Measure the throughput of `events_many` with 64 workers."""
    section = Section("Bulk: 64 workers")
    with running((10, 200)) as url:
        count, delay = (200, 0.08) if quick else (2_000, 0.08)
        ideal = count / 64 * delay
        runs = [
            measure(
                client="ours, fan-out",
                url=f"{url}/live/delay={delay}",
                session="mix",
                requests=count,
                concurrency=64,
            )
            for _ in range(rounds(quick))
        ]
        # in the same minutes: what is left of the ideal to a program that parses nothing
        bare = statistics.median(
            measure(
                client=FLOOR, url=f"{url}/live/delay={delay}", session="mix", requests=count, concurrency=64
            )["seconds"]
            for _ in range(rounds(quick))
        )
        seconds = statistics.median(each["seconds"] for each in runs)
        share = max(ideal, bare) / seconds
        section.say(
            f"{count} sessions of 200 events on average at {delay * 1e3:.0f} ms latency: "
            f"{ideal / seconds:.1%} of the ideal speed ({ideal:.2f} s in total); "
            f"`{FLOOR}`: {ideal / bare:.1%}."
        )
        section.promise("sessions at 80 ms latency, share of the possible speed", share, 0.9, at_least=True)
        for size, rival, limit in ((200, "aiohttp + json, dicts", 3.0), (10, FLOOR, 0.6)):
            found = taking_turns(
                (rival, "ours, fan-out"), rounds(quick), url=url + "/live", session=str(size),
                requests=REQUESTS[size] // (5 if quick else 1), concurrency=64,
            )  # fmt: skip
            times = ratio(found, rival, "ours, fan-out")
            section.say(
                f"{size} events, no rate limit: {median(found, 'ours, fan-out', 'rate'):.0f} requests/s; "
                f"`{rival}`: {median(found, rival, 'rate'):.0f} requests/s."
            )
            section.promise(f"fan-out per CPU second, {size} events, × {rival}", times, limit, at_least=True)
    return section
