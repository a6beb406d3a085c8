"""A request loop as a server has it: parse, route, look up in a cache, render, keep a session, log."""

import collections
import json
import re

import workload

ROUTES = [
    (re.compile(r"^/item/(?P<id>\d+)$"), "item"),
    (re.compile(r"^/search\?q=(?P<words>[^&]+)$"), "search"),
    (re.compile(r"^/cart/(?P<user>\w+)/add$"), "cart"),
]


class Server:
    def __init__(self):
        self.cache = collections.OrderedDict()
        self.sessions = {}
        self.log = collections.deque(maxlen=1_000)
        self.words = ["word%d" % i for i in range(500)]

    def handle(self, raw):
        request = self.parse(raw)
        body = self.route(request)
        response = self.render(200 if body else 404, body)
        self.log.append("%s %s %d" % (request["method"], request["path"], len(response)))
        return response

    def parse(self, raw):
        head, _, body = raw.partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        return {"method": method, "path": path, "headers": headers, "body": json.loads(body) if body else None}

    def route(self, request):
        for pattern, name in ROUTES:
            match = pattern.match(request["path"])
            if match:
                return getattr(self, name)(request, **match.groupdict())
        return None

    def item(self, request, id):
        if id not in self.cache:
            self.cache[id] = {"id": int(id), "title": "Item " + id, "text": " ".join(self.words[: int(id) % 50])}
            if len(self.cache) > 2_000:
                self.cache.popitem(last=False)
        return self.cache[id]

    def search(self, request, words):
        wanted = set(words.split("+"))
        return {"found": [word for word in self.words if word[-2:] in wanted or word in wanted]}

    def cart(self, request, user):
        cart = self.sessions.setdefault(user, {"items": [], "total": 0.0})
        cart["items"] = (cart["items"] + [request["body"]["item"]])[-20:]
        cart["total"] += request["body"]["price"]
        return {"user": user, "count": len(cart["items"]), "total": round(cart["total"], 2)}

    def render(self, status, body):
        text = json.dumps(body)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(text))}
        return "HTTP/1.1 %d\r\n%s\r\n\r\n%s" % (status, "\r\n".join("%s: %s" % h for h in headers.items()), text)


def incoming(i):
    kind = i % 10
    if kind < 6:
        return "GET /item/%d HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n" % (i * 7919 % 5_000)
    if kind < 7:
        return "GET /search?q=word%d+%02d HTTP/1.1\r\nHost: shop\r\n\r\n" % (i % 500, i % 100)
    body = json.dumps({"item": i % 300, "price": (i % 100) * 0.25})
    return "POST /cart/user%d/add HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n\r\n%s" % (i % 800, body)


def server(scale):
    shop = Server()
    return sum(len(shop.handle(incoming(i))) for i in range(scale))


workload.run(server, 120_000)
