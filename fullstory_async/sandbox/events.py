"""The sandbox's events: live-form events of every type that FullStory documents.

A session walks through a small web shop or its mobile app: each page (or screen) is opened, loaded and then
used, until the session's number of events is reached. Customer texts are invented; names, nesting and types
of fields are the service's.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import attrs

from fullstory_async.sandbox.world import World, WorldSession

__all__ = ["EVENT_TYPES", "events_of", "in_spec_form"]

Json = dict[str, Any]

_PAGES = (
    ("/", "Home"), ("/search", "Search"), ("/product/42", "Espresso machine"), ("/cart", "Cart"),
    ("/checkout", "Checkout"), ("/account", "Account"), ("/help", "Help"),
)  # fmt: skip
_ELEMENTS = (
    ("Checkout", 'form[data-step="review"] > button.btn.btn-primary'), ("Add to cart", "button#add-to-cart"),
    ("Search", "header > form.search > button"), ("Größe wählen", "select.size"), ("Help", "nav > a.help"),
    (None, 'form#ship > input[name="zip"]'), ("Free shipping", "aside.promo"), ("Sign in", "a.sign-in"),
)  # fmt: skip
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_BROWSERS = (
    (
        "Chrome", "124.0.0", "OS X",
        f"{_MAC} AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
    ),
    (
        "Firefox", "125.0", "Windows",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:125.0) Gecko/20100101 Firefox/125.0",
    ),
    (
        "Safari", "17.4", "OS X",
        f"{_MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    ),
)  # fmt: skip
_LOCATIONS = (
    ("US", "GA", "Atlanta", "33.75,-84.39", "203.0.113.7"),
    ("DE", "BE", "Berlin", "52.52,13.40", "198.51.100.23"),
    ("BR", "SP", "São Paulo", "-23.55,-46.63", "192.0.2.99"),
)  # fmt: skip


@attrs.define
class _Scene:
    """State from which an event's properties are generated."""

    rng: random.Random
    session: WorldSession
    path: str = "/"
    title: str = "Home"

    def millis(self, low: int, high: int) -> int:
        return self.rng.randint(low, high)

    def target(self) -> Json:
        text, selector = self.rng.choice(_ELEMENTS)
        return {
            "text": text, "masked": text is None,
            "raw_selector": f"html > body > div#app > main > {selector}",
            "element_properties": {"cart_total": round(self.rng.uniform(5, 200), 2)},
            "element_definition_id": f"ed_{self.rng.randint(1, 40)}", "additional_element_definition_ids": [],
        }  # fmt: skip

    def defined(self) -> Json:
        return {"event_definition_id": f"ev_{self.rng.randint(1, 90)}", "additional_event_definition_ids": []}


def _nothing(_: _Scene) -> Json:
    return {}


def _on_target(scene: _Scene) -> Json:
    return {"target": scene.target()}


def _navigate(scene: _Scene) -> Json:
    reasons = ("navigate", "navigate", "reload", "back_forward", "prerender")
    return {
        "navigate_reason": scene.rng.choice(reasons),
        "event_definition_id": None,
        "additional_event_definition_ids": [],
    }


def _click(scene: _Scene) -> Json:
    rage = scene.rng.choice((0, 0, 0, 0, 4))
    return {
        "target": scene.target(), "fs_dead_count": scene.rng.choice((0, 0, 0, 1)), "fs_rage_count": rage,
        "fs_error_kind": "exception" if rage else "unknown", "is_click_long": False,
        "is_click_unhandled": bool(rage), **scene.defined(),
    }  # fmt: skip


def _load(scene: _Scene) -> Json:
    first_byte, blocking = scene.millis(40, 300), scene.millis(0, 200)
    return {
        "load_time_millis": first_byte + 1500, "dom_content_time_millis": first_byte + 800,
        "first_paint_time_millis": first_byte + 450, "largest_paint_time_millis": first_byte + 1200,
        "time_to_first_byte_millis": first_byte, "time_to_interactive_millis": first_byte + 1300,
        "total_blocking_time_millis": blocking,
    }  # fmt: skip


def _element_seen(scene: _Scene) -> Json:
    return {
        "target": scene.target(), "element_type": "watched", "element_start_type": "visible",
        "element_render_duration_millis": scene.millis(5, 90),
        "element_visible_duration_millis": scene.millis(200, 9000),
    }  # fmt: skip


def _next_paint(scene: _Scene) -> Json:
    return {
        "event_name": "pointerdown", "interaction_to_next_paint_millis": scene.millis(20, 600),
        "target": {"raw_selector": "button.btn-primary"},
    }  # fmt: skip


def _custom(scene: _Scene) -> Json:
    name = scene.rng.choice(("Added to Cart", "Coupon Applied", "Video Played"))
    customer = {
        "sku": f"A-{scene.rng.randint(1, 9)}",
        "price": round(scene.rng.uniform(3, 99), 2),
        "tags": ["sale", "new"],
    }
    return {"event_name": name, "event_properties": customer, "event_definition_id": None}


def _request(scene: _Scene) -> Json:
    path = scene.rng.choice(("/v1/orders", "/v1/cart", "/v1/prices"))
    url = {"full_url": f"https://api.shop.test{path}", "host": "api.shop.test", "path": path, "query": {}}
    return {
        "request_method": "POST", "request_status": scene.rng.choice((404, 422, 500, 502)),
        "request_duration_millis": scene.millis(80, 4000), "request_url": url,
    }  # fmt: skip


def _exception(scene: _Scene) -> Json:
    return {
        "message": "Uncaught TypeError: order is undefined", "exception_count": scene.millis(1, 3),
        "exception_source_file": "https://shop.test/static/app.3f2c.js", "is_exception_handled": False,
    }  # fmt: skip


def _identify(scene: _Scene) -> Json:
    user = scene.session.user
    return {
        "user_id": user.uid, "user_email": user.email, "user_display_name": user.name,
        "user_properties": {"plan": "pro", "seats": 4},
    }  # fmt: skip


def _page_view(scene: _Scene) -> Json:
    active, inactive = scene.millis(500, 60_000), scene.millis(0, 20_000)
    start = scene.session.created
    return {
        "page_name": scene.title, "start_time": _iso(start),
        "end_time": _iso(start + timedelta(milliseconds=active + inactive)),
        "duration_millis": active + inactive, "active_duration_millis": active,
        "inactive_duration_millis": inactive,
        "max_scroll_depth": round(scene.rng.random(), 2),
    }  # fmt: skip


_WEB: dict[str, tuple[int, Callable[[_Scene], Json]]] = {
    "click": (30, _click),
    "change": (10, _on_target),
    "element_seen": (14, _element_seen),
    "custom": (8, _custom),
    "interaction_to_next_paint": (6, _next_paint),
    "request": (3, _request),
    "exception": (2, _exception),
    "console_message": (2, lambda _: {"message": "checkout failed: 502", "console_message_level": "error"}),
    "highlight": (2, _on_target),
    "copy": (1, _on_target),
    "paste": (1, _on_target),
    "form_abandon": (1, _on_target),
    "mouse_thrash": (1, _nothing),
    "cumulative_layout_shift": (2, lambda s: {"cumulative_layout_shift": round(s.rng.random() / 4, 4)}),
    "first_input_delay": (2, lambda s: {"first_input_delay_millis": s.millis(1, 120)}),
    "consent": (
        1,
        lambda _: {"is_consent_given": True, "consent_scope": "capture", "consent_action_type": "grant"},
    ),
    "identify": (1, _identify),
    "page_properties": (2, lambda s: {"page_name": s.title, "section": "shop"}),
    "page_view": (2, _page_view),
}
_MOBILE: dict[str, tuple[int, Callable[[_Scene], Json]]] = {
    "click": (30, _click),
    "change": (8, _on_target),
    "custom": (8, _custom),
    "element_seen": (8, _element_seen),
    "pinch_gesture": (3, lambda s: {"pinch_gesture_type": s.rng.choice(("zoom_in", "zoom_out"))}),
    "keyboard_open": (4, _nothing),
    "keyboard_close": (4, _nothing),
    "background": (2, _nothing),
    "low_memory": (1, _nothing),
    "crash": (1, _nothing),
    "force_restart": (1, lambda s: {"elapsed_millis": s.millis(1000, 30_000)}),
    "identify": (1, _identify),
}
_ON_ARRIVAL: dict[str, Callable[[_Scene], Json]] = {"navigate": _navigate, "load": _load}
_SERVER_SHARE = 0.01

EVENT_TYPES = frozenset({*_WEB, *_MOBILE, *_ON_ARRIVAL})
"""Every event type that sandbox sessions contain."""


def events_of(world: World, session: WorldSession) -> Iterator[Json]:
    """Generate a session's events in live form, the same on every call; or return its own."""
    if session.events is not None:
        yield from session.events
        return
    rng = world.rng(session, "events")
    scene = _Scene(rng, session)
    table = _MOBILE if session.mobile else _WEB
    kinds, weights = list(table), [weight for weight, _ in table.values()]
    origin = _Origin.of(scene)
    clock, left_on_page = session.created, 0
    for number in range(session.event_count):
        pause = timedelta(milliseconds=rng.randint(5, 8000))
        # a session begins with its first event
        clock += pause if number else timedelta()
        if left_on_page == 0 and not session.mobile:
            # every page gets a few events before the next one
            left_on_page = rng.randint(4, 24)
            scene.path, scene.title = rng.choice(_PAGES)
            origin.arrive(scene)
            kind, properties = "navigate", _navigate(scene)
        elif origin.loading:
            origin.loading = False
            kind, properties = "load", _load(scene)
        else:
            kind = rng.choices(kinds, weights)[0]
            properties = table[kind][1](scene)
            left_on_page = max(0, left_on_page - 1)
        # a share of custom events comes from the customer's server, as in real accounts
        if kind == "custom" and rng.random() < _SERVER_SHARE:
            yield _server_event(session, _iso(clock), properties)
        else:
            yield origin.event(_iso(clock), kind, properties)


@attrs.define
class _Origin:
    """Source of events: the fields that each event of a page repeats."""

    session: WorldSession
    fixed: Json
    source: Json
    view: int = 88
    loading: bool = False

    @classmethod
    def of(cls, scene: _Scene) -> _Origin:
        rng, session = scene.rng, scene.session
        country, region, city, lat_long, ip = rng.choice(_LOCATIONS)
        location = {
            "ip_address": ip,
            "country": country,
            "region": region,
            "city": city,
            "lat_long": lat_long,
        }
        fixed: Json
        if session.mobile:
            device = {
                "manufacturer": "Samsung", "model": "SM-S921B", "operating_system": "Android 14",
                "screen_width": 1080,
                "screen_height": 2340, "viewport_width": 1080, "viewport_height": 2200,
            }  # fmt: skip
            app = {"name": "Shop", "version": "5.4.1", "package_name": "test.shop.app"}
            fixed = {"device": device, "app": app, "location": location}
        else:
            browser, version, system, agent = rng.choice(_BROWSERS)
            user_agent = {
                "raw_user_agent": agent, "device": "Desktop", "operating_system": system,
                "browser": browser, "browser_version": version,
            }  # fmt: skip
            fixed = {"user_agent": user_agent, "location": location}
        return cls(session, fixed, fixed)

    def arrive(self, scene: _Scene) -> None:
        """Open the next page."""
        self.view += 1
        self.loading = True
        query = {"ref": {"values": ["mail"]}} if scene.rng.random() < 0.3 else {}
        url = {
            "full_url": f"https://shop.test{scene.path}{'?ref=mail' if query else ''}", "host": "shop.test",
            "path": scene.path, "query": query,
        }  # fmt: skip
        self.source = {**self.fixed, "url": url, "title": scene.title, "initial_referrer": None}

    def event(self, when: str, kind: str, properties: Json) -> Json:
        return {
            "device_id": self.session.device_id, "session_id": self.session.session_id,
            "view_id": f"{self.session.session_id[:12]}{self.view}", "event_time": when, "event_type": kind,
            "event_properties": properties, "source_type": "mobile_app" if self.session.mobile else "web",
            "source_properties": self.source,
        }  # fmt: skip


def _server_event(session: WorldSession, when: str, properties: Json) -> Json:
    """Make an event from the customer's server, which belongs to a device but to no page."""
    return {
        "device_id": session.device_id, "event_time": when, "event_type": "custom",
        "event_properties": properties,
        "source_type": "server", "source_properties": {"origin": "server", "integration": "fs"},
    }  # fmt: skip


def in_spec_form(event: Json) -> Json:
    """Reduce a live-form event to the fields of the published description."""
    return {"type": event["event_type"], "timestamp": event["event_time"], "data": event["event_properties"]}


def _iso(when: Any) -> str:
    return str(when.isoformat(timespec="milliseconds")).replace("+00:00", "Z")
